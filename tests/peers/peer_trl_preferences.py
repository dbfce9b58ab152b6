"""Checks against TRL 1.16: the losses of trainers of DPO, CPO, ORPO, KTO and rewards that are not there.

TRL's batches are its own: all chosen sequences, then all rejected ones.
"""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from dupo_kernels import preference_loss, score_loss
from tests.peers.peer_checks import EXACT, Checks, assert_apart, assert_close, differentiated

PAIRS, LONGEST = 4, 9
TOKENS = torch.tensor([9, 7, 2, 3, 1, 9, 5, 8])
MASK = torch.arange(LONGEST) < TOKENS[:, None]
OPTIONS: dict[str, dict[str, Any]] = {
    "robust": {"label_smoothing": 0.1},
    "exo_pair": {"label_smoothing": 0.001},
    "discopop": {"discopop_tau": 0.2},
}
SINGLE = 1e-6  # odds ratios and exp of alpha in float32


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Log-probs of all tokens (2 PAIRS, LONGEST), and sums of the reference that are not far off."""
    generator = torch.Generator().manual_seed(2)
    logprobs = -0.01 - torch.rand(2 * PAIRS, LONGEST, generator=generator)
    reference = (logprobs * MASK).sum(1) + torch.rand(2 * PAIRS, generator=generator) - 0.5
    return logprobs.to(dtype).requires_grad_(), reference.to(dtype)


def of_dpo(logprobs: Tensor, reference: Tensor, kinds: list[str], **options: Any) -> Tensor:
    """`DPOTrainer._compute_loss` where the reference was computed beforehand."""
    from trl.trainer.dpo_trainer import DPOTrainer

    def same(x: Tensor) -> Tensor:
        return x

    def model(**_: Any) -> Any:
        zero = torch.zeros_like(logprobs)
        return SimpleNamespace(
            log_probs=logprobs * MASK, entropy=zero, mean_logits=zero, is_top1=zero.bool(), aux_loss=None,
            label_mask=MASK,
        )  # fmt: skip

    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=same, gather=same),
        args=SimpleNamespace(discopop_tau=options.get("discopop_tau", 0.05)),
        ld_alpha=None, precompute_ref_logps=True, use_weighting=False, aux_loss_enabled=False, _tp_size=1,
        loss_types=kinds, loss_weights=options.get("loss_weights", [1.0] * len(kinds)), beta=0.3,
        label_smoothing=options.get("label_smoothing", 0.0),
        f_divergence_type=options.get("f_divergence_type", "reverse_kl"),
        f_alpha_divergence_coef=options.get("f_alpha_divergence_coef", 0.5),
        _metrics={"train": defaultdict(list)}, _total_train_tokens=0,
    )  # fmt: skip
    # TRL drops the first token of each row, which nothing predicts.
    mask = torch.cat([torch.zeros(2 * PAIRS, 1, dtype=torch.long), MASK.long()], 1)
    rows = {"input_ids": torch.zeros_like(mask), "attention_mask": torch.ones_like(mask)}
    rows |= {"completion_mask": mask}
    rows |= dict(zip(("ref_chosen_logps", "ref_rejected_logps"), reference.chunk(2), strict=True))
    return DPOTrainer._compute_loss(trainer, model, rows, False)  # type: ignore[arg-type, return-value]


def beside_dpo(
    kinds: list[str], dtype: torch.dtype = torch.float64, **options: Any
) -> tuple[list[Tensor], ...]:
    """(our loss and gradient, TRL's)."""
    logprobs, reference = batch(dtype)
    loss, _ = preference_loss(logprobs, ref_logps=reference, mask=MASK, loss_type=kinds, beta=0.3, **options)
    return differentiated(loss, logprobs), differentiated(
        of_dpo(logprobs, reference, kinds, **options), logprobs
    )


def dpo() -> None:
    kinds = [
        "sigmoid",
        "sigmoid_norm",
        "hinge",
        "ipo",
        "robust",
        "discopop",
        "nca_pair",
        "bco_pair",
        "sppo_hard",
        "apo_zero",
    ]
    for kind in [*kinds, "sppo_hard", "apo_zero", "apo_down"]:
        assert_close(*beside_dpo([kind], **OPTIONS.get(kind, {})), EXACT, kind)
    # TRL's epsilon is a float32 tensor.
    assert_close(*beside_dpo(["exo_pair"], **OPTIONS["exo_pair"]), 1e-7, "exo_pair")
    assert_close(*beside_dpo(["sigmoid", "sft"], loss_weights=[1.0, 0.7]), EXACT, "RPO")


def divergences() -> None:
    for kind in ("sigmoid", "hinge", "ipo", "sigmoid_norm", "discopop", "robust"):
        for name in ("forward_kl", "js_divergence"):
            found = beside_dpo([kind], f_divergence_type=name, **OPTIONS.get(kind, {}))
            assert_close(*found, EXACT, (kind, name))
    # TRL looks for the type of its tensors in a table without float64.
    for power in (0.5, 1.0, 1.5):
        options = {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": power}
        assert_close(*beside_dpo(["sigmoid"], torch.float32, **options), SINGLE, power)


def smoothing_of_sigmoid() -> None:
    """TRL's DPO ignores label_smoothing for sigmoid, its CPO does not: see `cpo`."""
    assert_apart(*beside_dpo(["sigmoid"], label_smoothing=0.2), 1e-2, "cDPO")


def beside_cpo(kind: str, *, averaged: bool, **options: Any) -> list[list[Tensor]]:
    from trl.experimental.cpo.cpo_trainer import CPOTrainer

    logprobs, _ = batch()
    trainer: Any = {"alpha": 0.0, "label_smoothing": 0.0, "simpo_gamma": 0.5} | options
    trainer = SimpleNamespace(loss_type=kind, beta=2.0, accelerator=SimpleNamespace(device="cpu"), **trainer)
    sums = (logprobs * MASK).sum(1)
    sums = sums / TOKENS if averaged else sums
    theirs = CPOTrainer.cpo_loss(trainer, *sums.chunk(2))[0].mean()  # type: ignore[arg-type]
    free = {} if kind == "simpo" else {"reference_free": True}
    loss, _ = preference_loss(logprobs, mask=MASK, loss_type=kind, beta=2.0, **free, **options)
    return [differentiated(loss, logprobs), differentiated(theirs, logprobs)]


def cpo() -> None:
    for smoothing in (0.0, 0.2):
        assert_close(*beside_cpo("sigmoid", averaged=False, label_smoothing=smoothing), EXACT, "sigmoid")
        found = beside_cpo("simpo", averaged=True, label_smoothing=smoothing, simpo_gamma=0.7)
        assert_close(*found, EXACT, "simpo")
    assert_close(*beside_cpo("hinge", averaged=False), EXACT, "hinge")
    assert_close(*beside_cpo("ipo", averaged=True), EXACT, "ipo")
    for alpha in (0.25, -0.5):
        assert_close(*beside_cpo("simpo", averaged=True, alpha=alpha), EXACT, "AlphaPO")
        assert_close(*beside_cpo("ipo", averaged=True, alpha=alpha), EXACT, "AlphaPO, ipo")
        assert_close(*beside_cpo("sigmoid", averaged=False, alpha=alpha), EXACT, "AlphaPO, sigmoid")


def orpo() -> None:
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    logprobs, _ = batch()
    trainer: Any = SimpleNamespace(beta=0.3, accelerator=SimpleNamespace(device="cpu"))
    means = (logprobs * MASK).sum(1) / TOKENS
    theirs = -ORPOTrainer.odds_ratio_loss(trainer, *means.chunk(2))[0].mean()  # type: ignore[arg-type]
    loss, _ = preference_loss(logprobs, mask=MASK, loss_type="orpo", beta=0.3)
    assert_close(differentiated(loss, logprobs), differentiated(theirs, logprobs), SINGLE, "orpo")
    # Where the probability of an answer rounds to 1, TRL's gradient is NaN: a branch of torch.where is 1 / 0.
    certain = torch.tensor([[-1e-9], [-1.0]], requires_grad=True)
    theirs = -ORPOTrainer.odds_ratio_loss(trainer, *certain.flatten().chunk(2))[0].mean()
    loss, _ = preference_loss(certain, loss_type="orpo", beta=0.3)
    assert_apart(differentiated(loss, certain), differentiated(theirs, certain), 1.0, "probability 1")


def kto() -> None:
    """KTOTrainer, where the reference was computed beforehand; it estimates the divergence on other pairs."""
    from trl.trainer.kto_trainer import KTOTrainer

    def same(x: Any) -> Any:
        return x

    def model(**_: Any) -> Any:
        zero = torch.zeros_like(logprobs)
        return SimpleNamespace(log_probs=logprobs * MASK, entropy=zero, mean_logits=zero, aux_loss=None)

    factors: Any = {"desirable_weight": 1.5, "undesirable_weight": 0.7}
    label = torch.tensor([True, False, True, True, False, False, True, False])
    mask = torch.cat([torch.zeros(2 * PAIRS, 1, dtype=torch.long), MASK.long()], 1)
    for kind, shift in (("kto", 0.4), ("kto", -0.4), ("apo_zero_unpaired", 0.4)):
        logprobs, reference = batch()
        others = reference + torch.linspace(-0.3, 0.3, 2 * PAIRS).double() + shift
        trainer: Any = SimpleNamespace(
            model=SimpleNamespace(training=False),
            accelerator=SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=same),
            _compute_kl_logps=lambda *_, others=others: others,
            calculate_KL=kind == "kto", loss_type=kind, beta=0.3, precompute_ref_logps=True, **factors,
            aux_loss_enabled=False, _metrics={"eval": defaultdict(list)},
            _total_train_tokens=0, _tp_size=1,
        )  # fmt: skip
        rows = {"input_ids": torch.zeros_like(mask), "attention_mask": torch.ones_like(mask), "label": label}
        rows |= {"completion_mask": mask, "ref_logps": reference, "ref_KL_logps": reference}
        theirs: Any = KTOTrainer._compute_loss(trainer, model, rows, False)  # type: ignore[arg-type]
        inputs = {"ref_logps": reference, "desirable": label}
        if kind == "kto":
            inputs["kl"] = (others - reference).mean().clamp(min=0)
        loss, stats = preference_loss(
            logprobs,
            mask=MASK,
            loss_type=kind,
            beta=0.3,
            desirable_weight=1.5,
            undesirable_weight=0.7,
            **inputs,
        )
        assert_close(differentiated(loss, logprobs), differentiated(theirs, logprobs), EXACT, (kind, shift))
        for name in ("rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected"):
            assert abs(stats[name].item() - trainer._metrics["eval"][name][-1]) < EXACT, name


def rewards() -> None:
    """RewardTrainer.compute_loss on scores that a model gives."""
    from trl.trainer.reward_trainer import RewardTrainer

    scores = torch.tensor([1.5, -0.2, 0.3, 0.9], dtype=torch.float64, requires_grad=True)
    for margin, coefficient in ((None, None), (torch.tensor([0.4, -0.1]).double(), 0.01)):

        def same(x: Any) -> Any:
            return x

        def model(**_: Any) -> Any:
            return SimpleNamespace(logits=scores[:, None])

        trainer: Any = SimpleNamespace(
            args=SimpleNamespace(center_rewards_coefficient=coefficient),
            model=SimpleNamespace(training=False),
            accelerator=SimpleNamespace(gather_for_metrics=same, gather=same),
            _metrics={"eval": defaultdict(list)}, _total_train_tokens=0, _tp_size=1,
        )  # fmt: skip
        rows = {"input_ids": torch.zeros(4, 2), "attention_mask": torch.ones(4, 2)}
        rows |= {} if margin is None else {"margin": margin}
        theirs: Any = RewardTrainer.compute_loss(trainer, model, rows)  # type: ignore[arg-type]
        pairs = torch.stack(scores.chunk(2), 1)
        loss = score_loss(pairs, margin=margin, center_rewards_coefficient=coefficient or 0.0)
        assert_close(differentiated(loss, scores), differentiated(theirs, scores), EXACT, coefficient)


CHECKS: Checks = {f.__name__: f for f in (dpo, divergences, smoothing_of_sigmoid, cpo, orpo, kto, rewards)}
