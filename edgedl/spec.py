"""What is known of a model's inputs and outputs before it runs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedl.errors import InvalidInput, InvalidTensor

Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]
"""Arrays by the name of the input or output that they belong to."""

DTYPES = (
    "float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool",
)  # fmt: skip


@dataclass(frozen=True)
class Quantization:
    """real = scale * (stored - zero_point), elementwise; https://ai.google.dev/edge/litert/models/quantization_spec."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and dtype of one input or output.

    shape: an int is a fixed length, a str is the name of a dynamic axis. dtype: a numpy name.
    quantization: for integers that stand for real numbers.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    quantization: Quantization | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape fits; a dynamic axis takes any length."""
        return len(shape) == len(self.shape) and all(
            isinstance(d, str) or d == n for d, n in zip(self.shape, shape, strict=True)
        )


_ANONYMOUS = re.compile(r"|None|\?|-1|dyn(amic)?|unk(nown)?_*\d*|N/A")
"""Names that exporters give to axes which they know nothing of."""


def axis_names(name: str, shape: Iterable[int | str | None]) -> tuple[int | str, ...]:
    """Return the shape of the tensor `name` with a name for every axis of which nothing is known.

    An axis without a name, or with one that means nothing or that an earlier axis has, is not the same axis as another:
    the first is the batch, the others are `x_2` and the like.
    """
    lengths = list(shape)
    return tuple(
        length if isinstance(length, int) else _axis_name(name, number, length, lengths[:number])
        for number, length in enumerate(lengths)
    )


def _axis_name(name: str, number: int, written: str | None, before: list[int | str | None]) -> str:
    if written is not None and not _ANONYMOUS.fullmatch(written) and written not in before:
        return written
    return f"{name}_{number}" if number else "batch"


def distinct_axes(specs: Iterable[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Return the specs with axes that are only called alike under different names; see axis_names."""
    return tuple(replace(spec, shape=axis_names(spec.name, spec.shape)) for spec in specs)


@dataclass(frozen=True)
class State:
    """What a step model carries: the output of one run is the input of the next; zero at the start where nothing else is said."""

    input: str
    output: str


@dataclass(frozen=True)
class Axis:
    """A dynamic axis: its name, and the range of lengths over which an artifact is proven (the file has no bounds)."""

    name: str
    low: int = 1
    high: int = 16

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not 1 <= self.low < self.high:
            raise InvalidInput(
                f"dynamic axis {self.name!r} of {self.low} to {self.high}: expected a name as in Python, and 1 <= low < high"
            )


DynamicAxes = Mapping[str, Mapping[int, Axis]]
"""input name -> axis number -> Axis. Axes of one name have one length."""

_INPUT = re.compile(
    r"(?P<name>[^=]+)=(?P<shape>\d+(?:x\d+)*)?(?::(?P<dtype>\w+))?"
    r"(?::(?P<low>-?\d+(?:\.\d+)?)\.\.(?P<high>-?\d+(?:\.\d+)?))?"
)
_DYNAMIC = re.compile(r"(?P<input>[^:=]+):(?P<axis>\d+)=(?P<name>[A-Za-z_]\w*)(?::(?P<low>\d+)\.\.(?P<high>\d+))?")


LARGEST = 2**31
"""Elements of one input: beyond it, a mistyped shape is the likelier meaning."""


@dataclass(frozen=True)
class InputOption:
    """One `--input`: a fixed spec and the range that seeded values are drawn from."""

    spec: TensorSpec
    low: float
    high: float

    def sample(self, seed: int) -> Array:
        """Seeded values: uniform in [low, high] for integers and bool, normal for floats unless a range was given."""
        generator = np.random.default_rng(seed)
        shape = tuple(int(n) for n in self.spec.shape)
        dtype = np.dtype(self.spec.dtype)
        if dtype.kind != "f":
            return generator.integers(int(self.low), int(self.high), shape, endpoint=True).astype(dtype)
        if np.isinf(self.high):
            return generator.standard_normal(shape).astype(dtype)
        return generator.uniform(self.low, self.high, shape).astype(dtype)


def parse_input(text: str) -> InputOption:
    """`x=1x3x64x64:float32` or, with a range for seeded values, `tokens=1x16:int64:0..999`."""
    match = _INPUT.fullmatch(text)
    dtype = (match and match["dtype"]) or "float32"
    if not match or dtype not in DTYPES:
        raise InvalidInput(
            f"--input {text!r} is not NAME=SHAPE:DTYPE, as in x=1x3x64x64:float32 or tokens=1x16:int64:0..999 "
            f"(dtypes: {', '.join(DTYPES)})"
        )
    shape = tuple(int(n) for n in (match["shape"] or "").split("x") if n)
    default = (0.0, 1.0) if np.dtype(dtype).kind != "f" else (-np.inf, np.inf)
    low, high = (float(match["low"]), float(match["high"])) if match["low"] else default
    if low > high:
        raise InvalidInput(f"--input {text!r}: expected LOW <= HIGH")
    if math.prod(shape) > LARGEST:
        raise InvalidInput(f"--input {text!r} has {math.prod(shape):,} elements: expected at most {LARGEST:,}")
    return InputOption(TensorSpec(match["name"], shape, dtype), low, high)


def parse_dynamic(texts: tuple[str, ...]) -> dict[str, dict[int, Axis]]:
    """`x:0=batch` or, with the lengths to be proven, `x:0=batch:1..32`; one dictionary of all of them."""
    axes: dict[str, dict[int, Axis]] = {}
    for text in texts:
        match = _DYNAMIC.fullmatch(text)
        if not match:
            raise InvalidInput(
                f"--dynamic {text!r} is not INPUT:AXIS=NAME[:LOW..HIGH], as in x:0=batch or x:1=time:8..200"
            )
        axis = Axis(match["name"], int(match["low"] or 1), int(match["high"] or 16))
        axes.setdefault(match["input"], {})[int(match["axis"])] = axis
    return axes


def plain(feeds: Mapping[str, Any]) -> dict[str, Array]:
    """What a user gives (arrays, CPU tensors, numbers) as contiguous arrays; InvalidTensor for a dtype that no format carries."""
    arrays = {name: np.asarray(value, order="C") for name, value in feeds.items()}
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise InvalidTensor(f"input {name!r} is {array.dtype}: edgedl carries tensors of {', '.join(DTYPES)}")
    return {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in arrays.items()}


def resize(feeds: Feeds, axes: DynamicAxes, lengths: Mapping[str, int]) -> dict[str, Array]:
    """The feeds with each dynamic axis cut, or repeated from its start, to `lengths[axis name]`."""
    resized = dict(feeds)
    for name, by_axis in axes.items():
        for number, axis in by_axis.items():
            array = resized[name]
            rows = np.arange(lengths[axis.name]) % array.shape[number]
            resized[name] = np.take(array, rows, axis=number)
    return resized
