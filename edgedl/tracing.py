"""torch.export of a program with its declared axes, and what its long messages mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from edgedl.decompositions import Table, decompose
from edgedl.exporter import Program
from edgedl.lowering import lower


def trace(module: torch.nn.Module, program: Program) -> torch.export.ExportedProgram:
    """torch.export with every declared axis dynamic: of any length, else of the lengths that are to be proven.

    A table of 40 positions bounds the length; so bounded, the model still exports.
    """
    torch.ops.aten.lstm.input._dispatch_cache.clear()  # a second LSTM or GRU would keep the first one's length
    torch.ops.aten.gru.input._dispatch_cache.clear()
    arguments = tuple(torch.from_numpy(array) for array in program.inputs.values())
    try:
        return export(module, arguments, dynamic_shapes(program, bounded=False))
    except Exception as error:
        if "Constraints violated" not in str(error):
            raise
        return export(module, arguments, dynamic_shapes(program, bounded=True))


def export(
    module: torch.nn.Module, arguments: tuple[torch.Tensor, ...], axes: Any = None, gradients: bool = False
) -> torch.export.ExportedProgram:
    """torch.export with the lowering that every format needs; raises what torch.export raises.

    axes: its `dynamic_shapes`. gradients: for a graph that is trained. With them attention with a learned bias becomes an
    operator for training, which no format has.
    """
    with converter_tracing(), torch.set_grad_enabled(gradients):
        return torch.export.export(module, arguments, dynamic_shapes=axes)


@contextmanager
def converter_tracing(table: Table | None = None) -> Iterator[None]:
    """What torch.export traces meanwhile, also inside a converter, is lowered, and masks are taken as given.

    table: what one format lacks beside what all of them do.
    """
    trace = torch.export.export
    torch.export.export = lambda *args, **kwargs: decompose(lower(trace(*args, **kwargs)), table or {})
    try:
        with masks_as_given():
            yield
    finally:
        torch.export.export = trace


@contextmanager
def masks_as_given() -> Iterator[None]:
    """nn.TransformerDecoder and its kin look into a mask to see whether it is causal; no trace can follow that.

    The answer only chooses between kernels of one result. So the mask is taken as it is, unless the caller says is_causal.
    """
    transformer: Any = torch.nn.modules.transformer
    looks = transformer._detect_is_causal_mask
    transformer._detect_is_causal_mask = lambda mask, is_causal=None, size=None: is_causal is True
    try:
        yield
    finally:
        transformer._detect_is_causal_mask = looks


def dynamic_shapes(program: Program, bounded: bool) -> tuple[tuple[dict[int, Any], ...]]:
    """What torch.export expects for a `forward(*inputs)`: one Dim per axis name."""
    axes = {axis.name: axis for by_axis in program.dynamic_axes.values() for axis in by_axis.values()}
    dims = {
        name: torch.export.Dim(name, min=axis.low, **({"max": axis.high} if bounded else {}))
        for name, axis in axes.items()
    }
    declared = program.dynamic_axes
    return (tuple({n: dims[axis.name] for n, axis in declared.get(name, {}).items()} for name in program.inputs),)


def why_untraceable(error: BaseException) -> tuple[str, str]:
    """Give (what is wrong, the way round) of what torch.export raised."""
    text = str(innermost(error))
    if "data-dependent" in text.lower() or "GuardOnDataDependentSymNode" in text:
        return (
            "the control flow or a shape depends on the values of a tensor",
            "use torch.where or torch.cond, or a fixed size",
        )
    if guard := _guard(text):
        return guard
    if fixed := re.search(r"(?:specialized|constant)[^\n]*?\(?(\d+)\)?", text):
        return (
            f"an axis declared dynamic is fixed to {fixed[1]} by the model's own code",
            f"take it out of --dynamic ({first_line(text)})",
        )
    return f"torch.export cannot trace it: {first_line(text)}", "rewrite that line"


def _guard(text: str) -> tuple[str, str] | None:
    """The same for "Constraints violated", whose later lines name the condition that the code puts on an axis."""
    axis = re.search(r"Constraints violated \((\w+)", text)
    if not axis:
        return None
    if fixed := re.search(r"to be a constant \((\d+)\)|resulted in a specialized value of (\d+)", text):
        length = fixed[1] or fixed[2]
        return (
            f"an axis declared dynamic is fixed to {length} by the model's own code",
            f"take {axis[1]!r} out of --dynamic",
        )
    condition = re.search(r"satisfy the generated guard (.*)", text)
    names = dict(re.findall(r"of (\w+) = (L\['\w+'\](?:\[\d+\])?\.size\(\)\[\d+\])", text))
    told = condition[1].rstrip(". ") if condition else first_line(text.partition("\n")[2])
    for name, size in names.items():
        told = told.replace(size, name)
    return (
        f"the model's own code needs {told}",
        f"give {axis[1]!r} a range that fits, as INPUT:AXIS={axis[1]}:LOW..HIGH, or take it out of --dynamic",
    )


def innermost(error: BaseException) -> BaseException:
    """The exception that the others were raised for: it names the operator."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def first_line(text: str) -> str:
    """The first line that says something; with the next where it ends in a colon."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no message"]
    end = next((number for number, line in enumerate(lines) if not line.endswith(":")), len(lines) - 1)
    return " ".join(lines[: end + 1])[:300]
