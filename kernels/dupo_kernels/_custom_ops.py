"""Custom ops whose arguments are records, so that no argument is ever found by its position.

torch.library takes flat lists of tensors, numbers and texts. Here a function of records becomes an op with
one argument for each field: `op(*head, *plan)` packs the records, and `unpack` builds them again wherever
torch hands back the flat list (the op itself, its fake version, its autograd set-up).

A record is a NamedTuple whose fields are annotated with types that torch.library knows. Field names of the
records of one op must differ.
"""

import inspect
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

ARGUMENT = inspect.Parameter.POSITIONAL_OR_KEYWORD


def record_op(name: str, mutates_args: Sequence[str] = ()) -> Callable[[Callable[..., Any]], Any]:
    """Decorates a function of records, and of plain arguments, as the custom op `name`.

    Args:
        name: "namespace::op".
        mutates_args: fields and arguments that the op writes to.
    """

    def register(compute: Callable[..., Any]) -> Any:
        signature = inspect.signature(compute)
        kinds = {argument.name: argument.annotation for argument in signature.parameters.values()}

        def flat(*values: Any) -> Any:
            return compute(*unpack(values, *kinds.values()))

        # torch.library reads names and types of the arguments from the signature alone.
        types: dict[str, Any] = {}
        for argument, kind in kinds.items():
            types |= inspect.get_annotations(kind) if _is_record(kind) else {argument: kind}
        flat.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(n, ARGUMENT, annotation=kind) for n, kind in types.items()],
            return_annotation=signature.return_annotation,
        )
        flat.__module__ = compute.__module__
        op: Any = torch.library.custom_op(name, flat, mutates_args=mutates_args)
        op.flat = flat
        return op

    return register


def differentiable(op: Any, save: Callable[..., None], backward: Callable[..., Any]) -> Callable[..., Any]:
    """A `record_op` with its derivative, as a function of the flat list.

    Args:
        op: what `record_op` returns; its autograd is registered here.
        save: (ctx, inputs, output), as `setup_context` of an autograd.Function.
        backward: (ctx, *gradients of the outputs) -> a gradient or None for each input.
    """
    op.register_autograd(backward, setup_context=save)

    class Direct(torch.autograd.Function):
        """The same functions without an op between."""

        @staticmethod
        def forward(ctx, *values):
            """The outputs of the op; keeps what the backward pass reads."""
            output = op.flat(*values)
            save(ctx, values, output)
            return output

    # Not in the class, where a type checker would hold it to the arguments of its base.
    Direct.backward = staticmethod(backward)
    Direct.__name__ = op._name.replace("::", "_")

    def run(*values: Any) -> Any:
        # An op of 30 arguments costs the host half a millisecond: torch copies its schema for each of them.
        # Compilers, modes that look at operators, transforms of functions (vmap), and tensors that are not
        # what they seem need the op.
        if torch.compiler.is_compiling():
            return op(*values)
        is_plain = all(type(v) in (Tensor, torch.nn.Parameter) for v in values if isinstance(v, Tensor))
        is_watched = torch._C._len_torch_dispatch_stack() or torch._C._are_functorch_transforms_active()
        if is_watched or not is_plain:
            return op(*values)
        return Direct.apply(*values)

    return run


def unpack(values: Sequence[Any], *kinds: Any) -> list[Any]:
    """One object for each of `kinds`, from a flat list: a record from its fields, else the value itself.

    Values beyond the last kind are ignored.
    """
    rest = iter(values)
    return [kind(*islice(rest, len(kind._fields))) if _is_record(kind) else next(rest) for kind in kinds]


def save(ctx: Any, *objects: Any) -> None:
    """Keeps records and plain values for the backward pass; tensors go where autograd checks for writes."""
    # save_for_backward notices writes to a saved tensor and frees it after backward; attributes do neither.
    ctx.kinds = [type(x) for x in objects]
    values = [v for x in objects for v in (x if _is_record(type(x)) else (x,))]
    ctx.save_for_backward(*(v if isinstance(v, Tensor) else None for v in values))
    ctx.plain = [None if isinstance(v, Tensor) else v for v in values]


def saved(ctx: Any) -> list[Any]:
    """The objects that `save` was given, in the same order."""
    values = [p if t is None else t for t, p in zip(ctx.saved_tensors, ctx.plain, strict=True)]
    return unpack(values, *ctx.kinds)


def _is_record(kind: Any) -> bool:
    return hasattr(kind, "_fields")
