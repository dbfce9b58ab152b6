"""The loss head in a trainer of your own: a toy policy learns which token is rewarded. Needs torch alone.

python examples/own_trainer.py
"""

import torch

from dupo_kernels import policy_loss, token_logprobs


def train(steps: int = 60, vocabulary: int = 50, rewarded: int = 7) -> float:
    """Returns the probability of the rewarded token after training from about 1 / vocabulary."""
    torch.manual_seed(0)
    logits = torch.zeros(vocabulary, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(steps):
        with torch.no_grad():  # sample a group of 64 one-token completions and keep their log-probs
            targets = torch.multinomial(logits.softmax(-1), 64, replacement=True)
            old_logprobs, _ = token_logprobs(logits.expand(64, -1), targets)
            rewards = (targets == rewarded).float()
            advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        logprobs, entropy = token_logprobs(logits.expand(64, -1), targets, entropy=True)
        loss, _ = policy_loss(
            logprobs, advantages, entropy=entropy, old_logprobs=old_logprobs, entropy_coef=0.001
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return logits.softmax(-1)[rewarded].item()


if __name__ == "__main__":
    print(f"probability of the rewarded token: {1 / 50:.2f} -> {train():.2f}")
