"""Made-up inputs for a model file that came without any: seeded values, of lengths that the file runs on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from edgedl import registry
from edgedl.artifact import Artifact
from edgedl.errors import EngineFailed, InvalidInput, InvalidTensor, Unavailable
from edgedl.exporter import Calibration
from edgedl.isolated import IsolatedSession
from edgedl.runtime import Session
from edgedl.shapes import parse_shape
from edgedl.spec import Array, InputOption, TensorSpec, distinct_axes

LENGTHS = (16, 32, 64, 128, 8, 4, 2, 1)
"""Lengths that open axes are tried with. Not 1 first: a softmax over one element proves nothing."""
ROWS = 4
"""Rows of one run, where the file takes any number of them."""
Ranges = Mapping[str, tuple[int, int]]
"""input -> the smallest and the largest integer that it may hold"""


@dataclass(frozen=True)
class SeededInputs:
    """Inputs of one shape. options: a fixed shape and a range for each input, in the model's order."""

    options: tuple[InputOption, ...]

    def __str__(self) -> str:
        return ",".join(f"{o.spec.name}={'x'.join(map(str, o.spec.shape))}" for o in self.options)

    def feeds(self, number: int) -> dict[str, Array]:
        """Return the inputs of run `number`, the same at each call."""
        return {option.spec.name: option.sample(1000 * number + place) for place, option in enumerate(self.options)}

    def calibration(self, rows: int) -> Calibration:
        """Return runs of this many rows, or a few more."""
        first = {option.spec.shape[0] for option in self.options if option.spec.shape}
        each = int(first.pop()) if len(first) == 1 else 1
        return lambda: (self.feeds(number) for number in range(math.ceil(rows / max(each, 1))))


def seeded_inputs(session: Session, name: str, ranges: Ranges, shapes: Sequence[str] = ()) -> tuple[SeededInputs, ...]:
    """Return inputs that the session runs on: of each shape given, else of one length or two that are found by trying.

    Args:
        name: Of the file, for messages.
        ranges: Of integer inputs; 0 to 1 where nothing is said.
        shapes: Texts of `--shape`.

    Raises:
        InvalidInput: A shape does not fit the inputs, or the file runs on none of what was tried.
    """
    specs = distinct_axes(session.inputs)
    if shapes:
        found = tuple(_planned(_with_shape(specs, text), ranges, 1, 1) for text in shapes)
        refusals = [refusal for inputs in found if (refusal := _refusal(session, inputs))]
        if refusals:
            raise InvalidInput(f"{name} does not run on the shape given ({refusals[0]}): give another --shape")
        return found
    return _found(session, specs, name, ranges)


def inputs_of(artifact: Artifact, shapes: Sequence[str] = (), runtime: str = "auto") -> tuple[SeededInputs, ...]:
    """Return inputs that the artifact runs on, tried in a process of its own; see `seeded_inputs`."""
    with IsolatedSession(artifact, runtime) as session:
        return seeded_inputs(session, str(artifact.path), ranges_of(artifact), shapes)


def ranges_of(artifact: Artifact) -> Ranges:
    """Return what the integers of the artifact may be; nothing where the packages that read its format are missing."""
    try:
        return registry.exporter(artifact.format).describe(artifact.model_file).ranges
    except (Unavailable, ImportError):
        return {}


def _found(session: Session, specs: tuple[TensorSpec, ...], name: str, ranges: Ranges) -> tuple[SeededInputs, ...]:
    found: list[SeededInputs] = []
    first = ""
    for length in LENGTHS if _open(specs) - _row_axes(specs) else LENGTHS[:1]:
        inputs = _planned(specs, ranges, 1, length)
        refusal = _refusal(session, inputs)
        first = first or refusal
        if not refusal:
            found.append(inputs)
        if len(found) == 2:
            break
    if not found:
        tried = f", tried with open lengths of {min(LENGTHS)} to {max(LENGTHS)}" if _open(specs) else ""
        example = ",".join(f"{s.name}={'x'.join(str(d if isinstance(d, int) else 64) for d in s.shape)}" for s in specs)
        raise InvalidInput(
            f"{name} does not run on made-up inputs{tried} ({first}): give real ones with --calibration rows.npz, "
            f"or a shape with --shape {example}"
        )
    return tuple(_with_rows(session, inputs, specs, ranges) for inputs in found)


def _open(specs: tuple[TensorSpec, ...]) -> set[str]:
    return {length for spec in specs for length in spec.shape if isinstance(length, str)}


def _row_axes(specs: tuple[TensorSpec, ...]) -> set[str]:
    """The open axes that come first in a shape: the batch, in all likelihood."""
    return {spec.shape[0] for spec in specs if spec.shape and isinstance(spec.shape[0], str)}


def _planned(specs: tuple[TensorSpec, ...], ranges: Ranges, rows: int, length: int) -> SeededInputs:
    """The first axes with `rows`, all other open ones with `length`."""
    batch = _row_axes(specs)
    return SeededInputs(
        tuple(
            _option(
                spec, tuple(d if isinstance(d, int) else rows if d in batch else length for d in spec.shape), ranges
            )
            for spec in specs
        )
    )


def _option(spec: TensorSpec, shape: tuple[int, ...], ranges: Ranges) -> InputOption:
    real = spec.dtype.startswith("float") or spec.quantization is not None
    low, high = (-math.inf, math.inf) if real else ranges.get(spec.name, (0, 1))
    dtype = "float32" if spec.quantization else spec.dtype
    return InputOption(TensorSpec(spec.name, shape, dtype), low, high)


def _with_rows(session: Session, inputs: SeededInputs, specs: tuple[TensorSpec, ...], ranges: Ranges) -> SeededInputs:
    """With several rows in each run, where the file really takes them."""
    lengths = {
        axis: length
        for spec, option in zip(specs, inputs.options, strict=True)
        for axis, length in zip(spec.shape, option.spec.shape, strict=True)
        if isinstance(axis, str)
    }
    wide = {**lengths, **dict.fromkeys(_row_axes(specs), ROWS)}
    fixed = tuple(replace(s, shape=tuple(wide[d] if isinstance(d, str) else d for d in s.shape)) for s in specs)
    more = _planned(fixed, ranges, 1, 1)
    return inputs if more == inputs or _refusal(session, more) else more


def _with_shape(specs: tuple[TensorSpec, ...], text: str) -> tuple[TensorSpec, ...]:
    """The specs with the shapes of one `--shape`; open axes that it leaves out have the lengths of those that it names."""
    shape, by_name = parse_shape(text), {spec.name: spec for spec in specs}
    for name, lengths in shape.items():
        if name not in by_name or not by_name[name].accepts(lengths):
            raise InvalidInput(f"--shape {text!r} does not fit: the model takes {', '.join(map(str, specs))}")
    axes = {axis: n for name, lengths in shape.items() for axis, n in zip(by_name[name].shape, lengths, strict=True)}
    return tuple(
        replace(s, shape=shape.get(s.name, tuple(axes.get(d, d) if isinstance(d, str) else d for d in s.shape)))
        for s in specs
    )


def _refusal(session: Session, inputs: SeededInputs) -> str:
    """What the engine says to these inputs; empty where it runs."""
    try:
        session.run(inputs.feeds(0))
    except (EngineFailed, InvalidTensor) as error:
        return str(error).removeprefix(f"{session.engine} could not run the model: ")
    return ""


def proof_batches(inputs: Sequence[SeededInputs], count: int) -> Iterator[dict[str, Array]]:
    """Yield `count` runs, of each of the shapes in turn."""
    return (inputs[number % len(inputs)].feeds(number) for number in range(count))
