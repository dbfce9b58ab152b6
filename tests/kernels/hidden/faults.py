"""Faults of one line in the head, which test_mutants.py puts into copies of the package."""

from tests.helpers.fault import Fault

LINEAR, OBJECTIVE = "kernels/hidden/test_linear_logprobs.py", "kernels/hidden/test_linear_objective.py"
COST, USE = "kernels/hidden/test_objective_cost.py", "kernels/hidden/test_objective_use.py"
MEMORY = "kernels/hidden/test_memory.py"
PEAK = f"{MEMORY}::test_the_peak_is_the_formula"
GEMM, DEVICES = "kernels/hidden/test_gemm.py", "kernels/hidden/test_devices.py"
CHUNKED = f"{LINEAR}::test_matches_the_definition_whatever_the_chunks"
NEEDS = f"{COST}::test_rows_without_a_gradient_get_the_first_product_alone"
NEEDS_OF_ROWS = f"{COST}::test_rows_without_a_gradient_are_those_of_the_tokens_not_of_the_list"
HALF = f"{USE}::test_float16_needs_the_loss_scale_and_uses_it[policy]"
WRITE = '"""Writes the logits of the rows, before softcap and temperature."""\n    '
RECOMPUTED = "min(chunks.chunk_size, chunks.num_with_grad - chunks.num_kept)\n"
SEQUENCES, FUSED = "kernels/hidden/test_sequence_chunks.py", "kernels/hidden/test_fused_chunks.py"
OUTPUTS, SHARDS = "kernels/hidden/test_head_outputs.py", "kernels/hidden/test_sharding.py"
TWO = f"{SHARDS}::test_two_processes_equal_one"
SEVERAL = f"{OUTPUTS}::test_float32[plain-whole-3]"
PRODUCT = "gemm(head.hidden[rows], head.weight.t(), logits_CV)\n    "

FAULTS = {
    # which rows, in what pieces
    "a masked row reaches a product": Fault(
        "mask.flatten().nonzero()[:, 0]", "torch.arange(N)", f"{LINEAR}::test_masked_rows_reach_no_product"
    ),
    "masked rows that need no gradient count": Fault(
        "torch.where(mask.flatten().to(rank.device) != 0, rank, 2)",
        "torch.where(mask.flatten().to(rank.device) != 0, rank, 0)",
        NEEDS,
    ),
    "rows that need a gradient stand last": Fault(
        "torch.cat([with_grad, without_grad])", "torch.cat([without_grad, with_grad])", NEEDS
    ),
    "what needs a gradient is looked up by place in the list": Fault(
        "rank = rank[rows.to(rank.device)]", "rank = rank[: rows.numel()]", NEEDS_OF_ROWS
    ),
    "the order of rows is not that of the tokens": Fault(
        "rows.to(torch.int64)[to_device(order, rows.device)], num_with_grad",
        "order, num_with_grad",
        NEEDS_OF_ROWS,
    ),
    "rows without a gradient get one in their chunk": Fault(
        "slice(0, min(rows.stop, chunks.num_with_grad) - rows.start)",
        "slice(0, rows.stop - rows.start)",
        NEEDS,
    ),
    "rows are sorted": Fault(
        "values_M.new_zeros(N, *values_M.shape[1:]).index_copy_(0, row_index, values_M)",
        "values_M.new_zeros(N, *values_M.shape[1:]).index_copy_(0, row_index.sort().values, values_M)",
        f"{LINEAR}::test_rows_and_mask_say_the_same",
    ),
    "kept logits are consumed twice": Fault(
        "*slices(self.num_kept, self.num_with_grad, self.chunk_size)",
        "*slices(0, self.num_with_grad, self.chunk_size)",
        CHUNKED,
    ),
    "pieces are larger than they may be": Fault(
        "chunks = -(-num_rows // CHUNK_TOKENS)",
        "chunks = num_rows // CHUNK_TOKENS",
        f"{MEMORY}::test_rows_that_have_logits_at_once",
    ),
    "the budget counts elements": Fault(
        "return min(num_rows, save_budget // (V * itemsize))",
        "return min(num_rows, save_budget // V)",
        f"{MEMORY}::test_rows_whose_logits_are_kept",
    ),
    "logits are kept without a gradient": Fault(
        "if keeps_logits and head.wants_gradient:",
        "if keeps_logits:",
        f"{PEAK}[logprobs-some-kept-bf16 fp32-no-grad]",
    ),
    "each chunk has logits of its own": Fault(
        f"{RECOMPUTED}            scratch = logits_buffer(head, num_rows) if scratch is None else scratch",
        f"{RECOMPUTED}            scratch = logits_buffer(head, num_rows)",
        f"{PEAK}[batch-chunks-bf16 fp32-everything]",
    ),
    "backward starts with zeros": Fault(
        "ctx.set_materialize_grads(False)  # else",
        "pass  # else",
        f"{PEAK}[token-chunks-bf16 fp32-everything]",
    ),
    # the products
    "dweight is that of the last chunk": Fault("self.dweight_VH, add=True)", "self.dweight_VH)", CHUNKED),
    "dweight is summed in bf16": Fault(
        "wide if self.several else hidden_CH.dtype",
        "hidden_CH.dtype",
        f"{LINEAR}::test_gradients_of_many_chunks_are_rounded_once",
    ),
    "a row has no bias": Fault(
        f"{WRITE}{PRODUCT}if head.bias is not None:", f"{WRITE}{PRODUCT}if False:", CHUNKED
    ),
    "a product of halves is rounded to half": Fault(
        "torch.mm(wide_left, wide_right, out=total)",
        "total.copy_(left[rows, terms] @ right[terms, columns])",
        f"{LINEAR}::test_keeps_the_promise_for_bf16[fp32-logits-whole]",
    ),
    "a CPU multiplies halves that it has no instructions for": Fault(
        "(is_half and not multiplies_halves(device_type, dtype))",
        "False",
        f"{GEMM}::test_halves_meet_in_float32_unless_the_cpu_multiplies_them[objective-whole-torch.bfloat16-emulated]",
    ),
    "every CPU with AVX512 has instructions for bf16": Fault(
        '(not is_x86 or any(_cpu_has(f"{unit}_{name}") for unit in ("avx512", "amx")))',
        "True",
        f"{GEMM}::test_a_cpu_multiplies_halves_if_onednn_and_the_cpu_say_so[bf16]",
    ),
    "tiles forget the sum before": Fault(
        "if add or terms.start:",
        "if add:",
        f"{GEMM}::test_tiles_make_the_product[60-torch.float32-False-rows]",
    ),
    "dhidden on CUDA is a sum of parts in bf16": Fault(
        "self.dhidden_GH[rows], long_sums=True)",
        "self.dhidden_GH[rows])",
        f"{GEMM}::test_dhidden_is_rounded_once_where_sums_are_cut[cast-by-chunk-objective]",
    ),
    "a buffer for each length": Fault(
        "shape = choose_buffer_rows(num_rows),",
        "shape = num_rows,",
        f"{MEMORY}::test_a_buffer_has_the_size_of_its_class[token]",
    ),
    "rows come from memory that is not pinned": Fault(
        "tensor = tensor.pin_memory()",
        "pass",
        f"{DEVICES}::test_rows_of_the_host_are_pinned[all-dtype0]",
    ),
    "a softcap of scaled logits": Fault(
        "(softcap or 0.0) / logit_scale",
        "softcap or 0.0",
        f"{LINEAR}::test_matches_the_definition_whatever_the_chunks[softcap-{{}}]",
    ),
    # how it is used
    "a second backward of log-probabilities": Fault(
        "    ctx.consumed = True\n    head,", "    head,", f"{LINEAR}::test_a_second_backward_raises"
    ),
    "a second backward of an objective": Fault(
        'is scaled in place")\n    ctx.consumed = True\n',
        'is scaled in place")\n',
        f"{USE}::test_a_second_backward_raises",
    ),
    "the loss scale is not taken in": Fault("dlogp = dlogp * grad_scale", "dlogp = dlogp", HALF),
    "the entropy knows no loss scale": Fault(
        "None if dentropy is None else dentropy * grad_scale", "dentropy", HALF
    ),
    "top1 counts all": Fault(
        '{"top1_agreement": statistics.logp == statistics.top}',
        '{"top1_agreement": statistics.logp <= statistics.top}',
        f"{OBJECTIVE}::test_top1_agreement_counts_the_likeliest_targets",
    ),
    "the compiler takes sums for bf16": Fault(
        "wide if plan.sums_dweight(head.hidden.shape[0]) else head.hidden.dtype",
        "head.hidden.dtype",
        f"{USE}::test_operator_is_registered_correctly",
    ),
    # results by name
    "NaN has a likeliest token": Fault(
        "top1 = (likeliest == first) & (logp > -torch.inf)",
        "top1 = likeliest == first",
        f"{OUTPUTS}::test_nan_and_targets_that_are_no_tokens",
    ),
    "the last of equal logits is the likeliest": Fault(
        "top_logit, likeliest = rows.logits.max(1)",
        "top_logit = rows.logits.amax(1)\n"
        "        likeliest = rows.logits.shape[1] - 1 - rows.logits.flip(1).argmax(1)",
        f"{OUTPUTS}::test_the_first_of_equal_logits_is_the_likeliest[None]",
    ),
    "the last target is the first": Fault("else tensor[:, 0]", "else tensor[:, -1]", SEVERAL),
    "the mean is that of logits before the temperature": Fault(
        "torch.mean(z, 1, out=outputs.mean_logits[block])",
        "outputs.mean_logits[block] = rows.logits[block].to(z.dtype).mean(1)",
        f"{OUTPUTS}::test_float32[scaled-whole-1]",
    ),
    "the mean is a sum": Fault("torch.mean(z, 1, out=", "torch.sum(z, 1, out=", SEVERAL),
    "probabilities are not squared": Fault(
        "log_sum += 2.0 * statistics.top[block]", "log_sum += statistics.top[block]", SEVERAL
    ),
    "squares are taken from lse on": Fault(
        "log_sum += 2.0 * statistics.top[block]",
        "log_sum += 2.0 * (peak[:, 0] - statistics.lse[block])",
        f"{OUTPUTS}::test_large_logits_cost_no_digits",
    ),
    "a row of nothing has a sum of squares": Fault(
        "log_sum.masked_fill_(empty[:, 0], 0.0)",
        "log_sum",
        f"{OUTPUTS}::test_minus_infinity_is_no_probability",
    ),
    "a call with outputs keeps a gradient": Fault(
        "*(x.detach() for x in others)",
        "*others",
        f"{OUTPUTS}::test_only_two_of_them_are_differentiable",
    ),
    "names may repeat": Fault(
        "if len(set(outputs)) < len(outputs):",
        "if False:",
        f"{OUTPUTS}::test_refuses[repeated]",
    ),
    "the least of the parts has the likeliest token": Fault(
        'parts["top_logit"].max(0)', 'parts["top_logit"].min(0)', TWO
    ),
    "parts are weighed by p, not by its square": Fault("share = 2.0 * (lse_WM", "share = 1.0 * (lse_WM", TWO),
    # several targets
    "equal targets have the gradient of the last": Fault(
        "at_target += own[:, k, None].where(place == place[:, k, None], 0.0)",
        "at_target[:, k] = own[:, k]",
        SEVERAL,
    ),
    "the other targets leave no probability": Fault("total = dlogp.sum(1)", "total = dlogp[:, 0]", SEVERAL),
    "gradients that cancel are none": Fault(
        "has_gradient = (dlogp != 0).any(1)",
        "has_gradient = total != 0",
        f"{OUTPUTS}::test_targets_without_a_gradient_and_gradients_that_cancel[kept]",
    ),
    "a log-probability is relative to lse": Fault(
        "logp = (statistics.logp[:, None] + drop).",
        "logp = (u * _factor(rows) - statistics.lse[:, None]).",
        f"{OUTPUTS}::test_large_logits_cost_no_digits",
    ),
    "a target that is no token is the first": Fault(
        "drop).masked_fill(~is_valid, torch.nan)",
        "drop)",
        f"{OUTPUTS}::test_nan_and_targets_that_are_no_tokens",
    ),
    "the compiler knows one target": Fault(
        "return new(head.targets.shape), entropy",
        "return new(N), entropy",
        f"{OUTPUTS}::test_the_compiler_knows_the_shapes[5-3]",
    ),
    # sequences in chunks, and losses of sequences that inputs decide
    "chunks end inside sequences": Fault(
        "return token // self.length\n",
        "return token // (self.length - 1)\n",
        f"{SEQUENCES}::test_padded_sequences_need_the_logits_of_a_token_once[gspo-mask]",
    ),
    "a function is shown other sequences": Fault(
        "sequence_b = token[first] // T",
        "sequence_b = segments.owner[rows][first]",
        f"{SEQUENCES}::test_a_function_sees_whole_sequences",
    ),
    "tokens of a sequence are weighed apart": Fault(
        'slope = layout.mean(inputs["advantages"].to(weights.dtype) * weights).expand(weights.shape)',
        'slope = layout.mean(inputs["advantages"].to(weights.dtype)) * weights',
        f"{SEQUENCES}::test_on_policy_gspo_is_a_loss_of_tokens[gspo-negative]",
    ),
    "a weight of 0 divides": Fault(
        "weights = torch.where(weights.abs() < SMALLEST_WEIGHT, SMALLEST_WEIGHT, weights)\n",
        "pass\n",
        f"{SEQUENCES}::test_on_policy_gspo_is_a_loss_of_tokens[gspo-zero]",
    ),
    "a ratio beyond delta keeps its value": Fault(
        "objective.delta >= 1)",
        "objective.delta >= 0)",
        f"{SEQUENCES}::test_on_policy_gspo_is_a_loss_of_tokens[small-delta-equal]",
    ),
    # the one launch by chunks
    "the report of a chunk is lost": Fault(
        "objective.take(span), report[:, span]",
        "objective.take(span), report[:, : span.stop - span.start]",
        f"{FUSED}::test_every_objective_of_tokens[dapo-chunks]",
        interpreted=True,
    ),
    "a kernel looks tokens up by their place in the list": Fault(
        "index=row_index,",
        "index=None,",
        f"{FUSED}::test_every_objective_of_tokens[dapo-chunks]",
        interpreted=True,
    ),
    "rows without a gradient are written": Fault(
        "border = min(max(num_with_grad, rows.start), rows.stop)",
        "border = rows.stop",
        f"{FUSED}::test_without_gradients_no_row_is_written",
        interpreted=True,
    ),
    "the definition forgets the bonus": Fault(
        "entropy = entropy or objective.needs_entropy\n",
        "pass\n",
        f"{FUSED}::test_the_definition_has_the_bonus_that_its_objective_asks_for",
    ),
}
