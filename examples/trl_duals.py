"""TRL's GRPOTrainer learns sums from duals, without labels, on a CPU in about a minute.

pip install "trl>=1.15,<1.17" datasets && python examples/trl_duals.py
"""

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from dupo.api import train
from dupo.integrations.duals import load_duals
from dupo.integrations.trl import dual_rollout, install

torch.set_num_threads(1)  # the tensors are so small that threads wait for one another
install()  # dupo's loss head under TRL's trainers
# The built-in model, taught until about half of its answers are right; a step that changes nothing saves it.
start = train(max_steps=1, learning_rate=1e-12, eval_size=0)
duals = load_duals(task="arithmetic")
rollout_func, reward_func = dual_rollout(duals, judge="frozen")
settings = GRPOConfig("runs/trl", use_cpu=True, bf16=False, max_steps=60, learning_rate=3e-4,
    per_device_train_batch_size=512, num_generations=4, max_completion_length=6)  # fmt: skip
prompts = Dataset.from_list([{"prompt": prompt} for prompt in duals.prompts])
trainer = GRPOTrainer(str(start.checkpoint), reward_func, settings, prompts, rollout_func=rollout_func)
trainer.train()  # the reward, the share of hidden numbers that come back, rises from 0.3 to 0.5
