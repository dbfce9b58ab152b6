"""A plan in words: rows for the screen, each figure with what it rests on."""

from dupo.config.engine_options import SERVER
from dupo.config.plan_options import PlanOptions
from dupo.planning.changes import Change
from dupo.planning.machines import GB
from dupo.planning.plan import TIGHT, Plan

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


def gigabytes(size: float) -> str:
    """Bytes as GB, with as many digits as say something."""
    value = size / GB
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 0.95 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """Seconds, minutes, hours or days, two digits of them."""
    for unit, name in ((DAY, "days"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= 2 * unit or (name == "h" and seconds >= unit):
            value = seconds / unit
            return f"{value:.0f} {name}" if value >= 10 else f"{value:.1f} {name}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def count(number: float) -> str:
    """A number of tokens or weights: 4.02 billion, 66 million, 8,192."""
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number:,.0f}"


def verdict(plan: Plan) -> str:
    """Whether the memory is enough."""
    where = "GPU" if plan.machine.gpus else "machine"
    room = f"the {gigabytes(plan.machine.memory)} GB of {'each' if plan.machine.gpus > 1 else 'the'} {where}"
    # Nearly full is no fit yet: an allocator cannot use every byte.
    need = f"{gigabytes(plan.peak)} GB at the most"
    if plan.peak > plan.machine.memory:
        return f"does not fit: {need}, more than {room}"
    if plan.peak > TIGHT * plan.machine.memory:
        return f"tight: {need}, nearly {room}"
    return f"fits: {need}, of {room}"


def model_row(plan: Plan) -> tuple[str, str]:
    """The model and what is trained of it."""
    model, config = plan.model, plan.config
    trained = f", {count(model.trained)} of adapters are trained" if config.lora.use_peft else ", all trained"
    return "model", f"{config.model.model_name_or_path}: {count(model.parameters)} parameters{trained}"


def machine_row(plan: Plan) -> tuple[str, str]:
    """The machine."""
    machine = plan.machine
    if machine.shards > 1:
        of_adapters = "each holds all weights" if plan.config.lora.use_peft else None
        shared = of_adapters or f"weights are shared out among {machine.shards}"
        return "machine", f"{machine.name}; {shared}"
    return "machine", machine.name


def memory_table(plan: Plan) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the memory of one GPU."""
    header = [f"GB of {'each GPU' if plan.machine.gpus > 1 else 'memory'}", "start", "sampling", "update"]
    rows = [
        [item.name, *(_cell(size) for size in (item.start, item.sampling, item.update))]
        for item in plan.items
    ]
    rows.append(["together", *(_cell(size) for size in (plan.start, plan.sampling, plan.update))])
    if plan.start:
        return header, rows
    return [header[0], *header[2:]], [[row[0], *row[2:]] for row in rows]


def _cell(size: float) -> str:
    return gigabytes(size) if size else "-"


def work_rows(plan: Plan, expected: PlanOptions) -> list[tuple[str, str]]:
    """Rows at once, tokens, seconds of each phase, disk."""
    work, config, machine = plan.workload, plan.config, plan.machine
    rows = []
    if work.answers:
        mean = work.answer_tokens / work.answers
        assumed = f"assumed {mean:,.0f} tokens each of at most {config.rollout.max_completion_length:,}"
        tokens = f"{work.answers:,} answers, {count(work.answer_tokens)} tokens ({assumed})"
        rows.append(("a rollout", f"{tokens}; {work.steps} step{'s' if work.steps > 1 else ''} on it"))
        at_once = "as many as the server takes" if plan.rows is None else f"{plan.rows:,} on each GPU"
        at_once = f"{plan.rows:,}" if plan.rows is not None and not machine.gpus else at_once
        rows.append(("rows at once", at_once if plan.rows != 0 else "none: no memory is left for a row"))
    rows.append(
        (
            "a step",
            f"{count(work.step_tokens)} tokens of {work.trained:,} completions "
            f"(assumed prompts of {expected.mean_prompt_length:,}), micro-batches of {work.micro_tokens:,}",
        )
    )
    rows += [
        (name, f"{duration(seconds)}, {_basis(plan, name, expected)}")
        for name, seconds in plan.seconds.items()
    ]
    if plan.rows or not work.answers:
        total = plan.step_seconds * config.optimizer.max_steps
        rows.append(
            (
                "the whole run",
                f"{duration(total)} for {config.optimizer.max_steps:,} steps, without evaluation",
            )
        )
    elif config.engine.engine == SERVER:
        rows.append(("answers", "as long as the server takes"))
    rows.append(("speed", machine.speed))
    return [*rows, disk_row(plan)]


def _basis(plan: Plan, phase: str, expected: PlanOptions) -> str:
    """What the seconds of a phase rest on."""
    work, ranks = plan.workload, plan.machine.ranks
    over = f" over {ranks} GPUs" if ranks > 1 else ""
    if phase == "answers":
        return f"once a rollout{over}: weights and cache are read for each token of {plan.rows:,} rows"
    if phase == "duals":
        share = f"{expected.different_answers:.0%} of the answers differ"
        return (
            f"once a rollout{over}: {work.duals:,} duals, {count(work.dual_tokens)} tokens (assumed: {share})"
        )
    if phase == "update":
        again = ", activations computed twice" if plan.config.model.gradient_checkpointing else ""
        return f"each step{over}: forward and backward pass of {count(work.step_tokens)} tokens{again}"
    return f"once a rollout{over}: a forward pass"


def disk_row(plan: Plan) -> tuple[str, str]:
    """Checkpoints on the disk."""
    copies = plan.config.run.save_total_limit + 1  # the oldest goes once the newest is whole
    total = gigabytes(copies * plan.checkpoint)
    return (
        "disk",
        f"{gigabytes(plan.checkpoint)} GB a checkpoint, {total} GB with save_total_limit + 1 = {copies}",
    )


def change_rows(plan: Plan, changes: list[Change]) -> list[list[str]]:
    """Rows of a table: an option, memory with it, seconds of a step with it."""
    rows = [["as it is", gigabytes(plan.peak), _step(plan), _answer(plan)]]
    return rows + [
        [change.words, gigabytes(change.plan.peak), _step(change.plan), _answer(change.plan)]
        for change in changes
    ]


def _step(plan: Plan) -> str:
    return duration(plan.step_seconds) if plan.rows or not plan.workload.answers else "-"


def _answer(plan: Plan) -> str:
    return "yes" if plan.fits else "no"


def short_rows(plan: Plan) -> list[tuple[str, str]]:
    """The few rows that a run shows at its start."""
    # How fast a CPU is, depends on what else it does.
    step = f"; about {_step(plan)} a step" if plan.rows and plan.machine.gpus else ""
    phases = f"{gigabytes(plan.sampling)} GB while sampling, {gigabytes(plan.update)} GB in a step"
    phases = f"{gigabytes(plan.start)} GB at the start, {phases}" if plan.start else phases
    return [
        ("plan", f"{count(plan.model.parameters)} parameters; {phases}; {verdict(plan)}{step}"),
        disk_row(plan),
    ]
