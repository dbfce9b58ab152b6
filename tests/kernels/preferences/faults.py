"""Faults of one line in the losses of sequences, which test_mutants.py puts into copies of the package."""

from tests.helpers.fault import Fault

LOSS, SCORES = "kernels/preferences/test_preference_loss.py", "kernels/preferences/test_scores.py"
HEAD, MEMORY = "kernels/hidden/test_group_objective.py", "kernels/hidden/test_memory.py"
DEFINED = f"{LOSS}::test_equals_the_definition"
CHUNKED = f"{HEAD}::test_equals_the_definition_whatever_the_chunks"
PADDED = f"{LOSS}::test_padded_sequences_and_what_their_padding_holds"
IMPOSSIBLE = f"{LOSS}::test_a_rejected_sequence_of_no_probability"
BEYOND = f"{LOSS}::test_scores_beyond_a_float_keep_their_order"
PAIRS = f"{SCORES}::test_bradley_terry"
COST = f"{HEAD}::test_every_row_costs_three_products"

FAULTS = {
    "DPO's sigmoid has the other sign": Fault(
        "_smoothed(options.beta * pair.difference,", "_smoothed(-options.beta * pair.difference,", DEFINED
    ),
    "DPO's difference has no beta": Fault(
        "_smoothed(options.beta * pair.difference,", "_smoothed(pair.difference,", DEFINED
    ),
    "an impossible sequence is 0 times infinity": Fault(
        "-logsigmoid(x) if e == 0 else -(1 - e)", "-(1 - e)", IMPOSSIBLE
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
    "a length-normalised loss is that of the other order": Fault(
        "-logsigmoid(options.beta * pair.mean_difference)",
        "-logsigmoid(-options.beta * pair.mean_difference)",
        DEFINED,
    ),
    "the hinge is on the other side": Fault(
        "torch.relu(1 - options.beta * pair", "torch.relu(1 + options.beta * pair", DEFINED
    ),
    "the hinge is at 0": Fault("torch.relu(1 - options.beta", "torch.relu(-options.beta", DEFINED),
    "ipo's distance is 1 / beta": Fault(
        "(distance - 1 / (2 * options.beta))", "(distance - 1 / options.beta)", DEFINED
    ),
    "ipo takes sums": Fault(
        "distance = pair.difference if options.alpha else pair.mean_difference\n    return (",
        "distance = pair.difference\n    return (",
        DEFINED,
    ),
    "robust is not divided": Fault("logsigmoid(-d)) / (1 - 2 * e)", "logsigmoid(-d)) / (1 - e)", DEFINED),
    "robust is smoothed": Fault("+ e * logsigmoid(-d)) / (1", "- e * logsigmoid(-d)) / (1", DEFINED),
    "exo takes the other label": Fault(
        "(logsigmoid(d) - math.log1p(-e))", "(logsigmoid(d) - math.log(e))", DEFINED
    ),
    "exo's 0 log 0 is NaN": Fault("d.clamp(-MOST_EVIDENCE, MOST_EVIDENCE)", "d", IMPOSSIBLE),
    "exo forgets the label": Fault("(logsigmoid(-d) - math.log(e))", "logsigmoid(-d)", DEFINED),
    "discopop's mixture has no temperature": Fault("= d / options.discopop_tau", "= d", DEFINED),
    "discopop's exponential is infinite": Fault(
        "(logsigmoid(evidence) - d).exp()",
        "evidence.sigmoid() * (-d).exp()",
        f"{LOSS}::test_discopop_of_a_pair_that_is_far_from_its_order",
    ),
    "nca pushes the chosen down": Fault("return -logsigmoid(c) - (", "return logsigmoid(c) - (", DEFINED),
    "nca holds one ratio alone": Fault(
        "(logsigmoid(-c) + logsigmoid(-r)) / 2", "logsigmoid(-c) / 2", DEFINED
    ),
    "bco pushes both up": Fault(
        "- logsigmoid(-options.beta * pair.rejected)", "- logsigmoid(options.beta * pair.rejected)", DEFINED
    ),
    "bco forgets the chosen": Fault(
        "-logsigmoid(options.beta * pair.chosen) - logsigmoid", "-logsigmoid", DEFINED
    ),
    "sppo pushes the winner down": Fault("(pair.chosen - half)", "(pair.chosen + half)", DEFINED),
    "sppo pulls the loser up": Fault("(pair.rejected + half)", "(pair.rejected - half)", DEFINED),
    "apo_zero pushes the chosen down": Fault(
        "(-options.beta * pair.chosen).sigmoid()", "(options.beta * pair.chosen).sigmoid()", DEFINED
    ),
    "apo_zero pulls the rejected up": Fault(
        "+ (options.beta * pair.rejected).sigmoid()", "+ (-options.beta * pair.rejected).sigmoid()", DEFINED
    ),
    "apo_down pulls the chosen up": Fault("return c.sigmoid() +", "return (-c).sigmoid() +", DEFINED),
    "apo_down wants the other order": Fault("(r - c).sigmoid()", "(c - r).sigmoid()", DEFINED),
    "simpo has no margin": Fault("* distance - options.simpo_gamma,", "* distance,", DEFINED),
    "simpo takes sums": Fault(
        "distance = pair.difference if options.alpha else pair.mean_difference\n    return _smoothed",
        "distance = pair.difference\n    return _smoothed",
        DEFINED,
    ),
    "orpo is a ratio of probabilities": Fault("c - r - _log1mexp(c) + _log1mexp(r)", "c - r", DEFINED),
    "orpo has no derivative at certainty": Fault(
        "x.clamp(max=-torch.finfo(x.dtype).eps)", "x", f"{LOSS}::test_certain_tokens_have_a_finite_gradient"
    ),
    "sft is a mean of pairs": Fault(
        "-pair.chosen * pair.nll_weight", "-pair.chosen / pair.chosen_length", DEFINED
    ),
    "sft pushes down": Fault("-pair.chosen * pair.nll", "pair.chosen * pair.nll", DEFINED),
    "forward_kl is reverse_kl": Fault("return -_expm1(-log_ratio)", "return log_ratio", DEFINED),
    "forward_kl has the other sign": Fault(
        "return -_expm1(-log_ratio)", "return -_expm1(log_ratio)", DEFINED
    ),
    "scores beyond a float look alike": Fault(
        " + math.exp(MOST_EXPONENT) * torch.relu(x - MOST_EXPONENT)", "", BEYOND
    ),
    "scores are float32": Fault("    x = x.double()\n", "", BEYOND),
    "js_divergence has no softplus": Fault("math.log(2) + logsigmoid(log_ratio)", "log_ratio", DEFINED),
    "js_divergence has the other sign": Fault("logsigmoid(log_ratio)", "logsigmoid(-log_ratio)", DEFINED),
    "alpha is not an exponent": Fault("_expm1(power * log_ratio) / power", "_expm1(log_ratio)", DEFINED),
    "alpha's score is not divided": Fault(
        "_expm1(power * log_ratio) / power", "_expm1(power * log_ratio)", DEFINED
    ),
    "AlphaPO has the other sign": Fault("else ratios, -self.alpha", "else ratios, self.alpha", DEFINED),
    "AlphaPO takes sums": Fault(
        'if name in ("ipo", "simpo") else ratios, -self', "if False else ratios, -self", DEFINED
    ),
    "kto compares with 0": Fault(
        'kl[:, 0].to(ratios.dtype) if name == "kto"', '0.0 if name == "kto"', DEFINED
    ),
    "kto's divergence is added": Fault("sign * (ratios - zero)", "sign * (ratios + zero)", DEFINED),
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
    "Plackett-Luce has the other sign": Fault(
        "return (left_GK - scores_GK)",
        "return (scores_GK - left_GK)",
        f"{SCORES}::test_all_orders_of_four_have_a_probability_of_one",
    ),
    "an impossible last place has no derivative": Fault(
        "scores_GK[:, -1:].clamp(min=lowest)",
        "scores_GK[:, -1:]",
        f"{SCORES}::test_an_impossible_sequence_may_stand_last",
    ),
    "a centre of 0 is 0 times infinity": Fault(
        "    if center_rewards_coefficient:\n        losses",
        "    if True:\n        losses",
        f"{SCORES}::test_a_centre_that_was_not_asked_for_costs_nothing",
    ),
    "Bradley-Terry wants the other order": Fault("logsigmoid(best - other", "logsigmoid(other - best", PAIRS),
    "the centre is a difference": Fault("(best + other) ** 2", "(best - other) ** 2", PAIRS),
    "a margin is no margin": Fault("(0 if margin is None else margin.to(scores.dtype))", "0", PAIRS),
    "the best stands last": Fault(
        "groups.argsort(stable=True)", "groups.flip(0).argsort(stable=True)", DEFINED
    ),
    "padding is summed": Fault("values = values.where(self.active, 0)", "values = values", PADDED),
    "a broken group does not count": Fault(
        "mean.masked_fill(is_broken.any(), torch.nan)", "mean", f"{LOSS}::test_reports_show_a_broken_sequence"
    ),
    "a weight of 0 has an infinite slope": Fault(
        "sums.where(weights[:, None] != 0, sums.detach())",
        "sums",
        f"{LOSS}::test_a_weight_of_zero_leaves_an_infinite_loss_out",
    ),
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
