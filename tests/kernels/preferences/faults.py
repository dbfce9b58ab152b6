"""Faults of one line in the losses of sequences, which test_mutants.py puts into copies of the package."""

from tests.helpers.fault import Fault

LOSS, SCORES = "kernels/preferences/test_preference_loss.py", "kernels/preferences/test_scores.py"
HEAD, MEMORY = "kernels/hidden/test_group_objective.py", "kernels/hidden/test_memory.py"
DEFINED = f"{LOSS}::test_equals_the_definition"
CHUNKED = f"{HEAD}::test_equals_the_definition_whatever_the_chunks"
PADDED = f"{LOSS}::test_padded_sequences_and_what_their_padding_holds"
PAIRS = f"{SCORES}::test_bradley_terry"
COST = f"{HEAD}::test_every_row_costs_three_products"

FAULTS = {
    "DPO's sigmoid has the other sign": Fault(
        "_smoothed(options.beta * pair.difference,", "_smoothed(-options.beta * pair.difference,", DEFINED
    ),
    "labels are smoothed twice": Fault(
        "-(1 - e) * logsigmoid(x) - e * logsigmoid(-x)",
        "-(1 - 2 * e) * logsigmoid(x) - e * logsigmoid(-x)",
        DEFINED,
    ),
    "a length-normalised loss takes sums": Fault(
        "-logsigmoid(options.beta * pair.mean_difference)",
        "-logsigmoid(options.beta * pair.difference)",
        DEFINED,
    ),
    "the hinge is at 0": Fault("torch.relu(1 - options.beta", "torch.relu(-options.beta", DEFINED),
    "ipo's distance is 1 / beta": Fault(
        "(distance - 1 / (2 * options.beta))", "(distance - 1 / options.beta)", DEFINED
    ),
    "robust is not divided": Fault("logsigmoid(-d)) / (1 - 2 * e)", "logsigmoid(-d)) / (1 - e)", DEFINED),
    "exo forgets the label": Fault("(logsigmoid(-d) - math.log(e))", "logsigmoid(-d)", DEFINED),
    "discopop's mixture has no temperature": Fault("(d / options.discopop_tau)", "(d)", DEFINED),
    "nca holds one ratio alone": Fault(
        "(logsigmoid(-c) + logsigmoid(-r)) / 2", "logsigmoid(-c) / 2", DEFINED
    ),
    "bco pushes both up": Fault(
        "- logsigmoid(-options.beta * pair.rejected)", "- logsigmoid(options.beta * pair.rejected)", DEFINED
    ),
    "sppo pulls the loser up": Fault("(pair.rejected + half)", "(pair.rejected - half)", DEFINED),
    "apo_zero pushes the chosen down": Fault(
        "(-options.beta * pair.chosen).sigmoid()", "(options.beta * pair.chosen).sigmoid()", DEFINED
    ),
    "apo_down wants the other order": Fault("(r - c).sigmoid()", "(c - r).sigmoid()", DEFINED),
    "simpo has no margin": Fault("* distance - options.simpo_gamma,", "* distance,", DEFINED),
    "orpo is a ratio of probabilities": Fault("c - r - _log1mexp(c) + _log1mexp(r)", "c - r", DEFINED),
    "orpo has no derivative at certainty": Fault(
        "x.clamp(max=-torch.finfo(x.dtype).eps)", "x", f"{LOSS}::test_certain_tokens_have_a_finite_gradient"
    ),
    "sft is a mean of pairs": Fault(
        "-pair.chosen * pair.nll_weight", "-pair.chosen / pair.chosen_length", DEFINED
    ),
    "forward_kl is reverse_kl": Fault(
        "1 - (-log_ratio).clamp(max=MOST_EXPONENT).exp()", "log_ratio", DEFINED
    ),
    "js_divergence has the other sign": Fault("logsigmoid(log_ratio)", "logsigmoid(-log_ratio)", DEFINED),
    "alpha is not an exponent": Fault(".expm1() / power", ".expm1()", DEFINED),
    "AlphaPO takes sums": Fault(
        'if name in ("ipo", "simpo") else ratios, -self', "if False else ratios, -self", DEFINED
    ),
    "kto compares with 0": Fault(
        'kl[:, 0].to(ratios.dtype) if name == "kto"', '0.0 if name == "kto"', DEFINED
    ),
    "undesirable sequences are pushed up": Fault("desirable.to(ratios.dtype) * 2 - 1", "1.0", DEFINED),
    "labels have one weight": Fault(
        "factor.masked_fill(desirable, self.desirable_weight)", "factor", DEFINED
    ),
    "simpo looks at the reference": Fault(
        "ratios if PREFERENCE_LOSSES[name].reference else logps", "ratios", DEFINED
    ),
    "Plackett-Luce draws from all": Fault(
        "scores_GK.flip(1).logcumsumexp(1).flip(1)",
        "scores_GK.logsumexp(1, keepdim=True)",
        f"{SCORES}::test_all_orders_of_four_have_a_probability_of_one",
    ),
    "the centre is a difference": Fault("(best + other) ** 2", "(best - other) ** 2", PAIRS),
    "a margin is no margin": Fault("(0 if margin is None else margin)", "0", PAIRS),
    "the best stands last": Fault(
        "groups.argsort(stable=True)", "groups.flip(0).argsort(stable=True)", DEFINED
    ),
    "padding is summed": Fault("values = values.where(self.active, 0)", "values = values", PADDED),
    # on the head
    "rows are not sorted": Fault("rows = tokens[order]", "rows = tokens", CHUNKED),
    "the derivative is that of the mean": Fault(
        "return Evaluation(total.detach(), slope[owner_C], None,",
        "return Evaluation(total.detach(), slope[owner_C] / 2, None,",
        CHUNKED,
    ),
    "chunks cut groups": Fault("lambda _: ends, keeps_logits=True", "None, keeps_logits=True", COST),
    "all rows are gathered": Fault(
        "None if torch.equal(rows, torch.arange(bounds.N)) else rows",
        "rows",
        f"{MEMORY}::test_the_logits_of_a_chunk_are_those_of_whole_pairs",
    ),
}
