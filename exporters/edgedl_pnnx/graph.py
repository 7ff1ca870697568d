"""ncnn's two files as layers with their weights, and back.

The text: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure. The binary is the weights of the layers one
after the other, in the order of ncnn's `load_model` of each: those that may be stored narrower have a tag of four bytes
before them, the others are bare float32. What each layer loads is in `_LOADS`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgedl.errors import InvalidArtifact, Unsupported
from edgedl.spec import Array

FLOAT32, FLOAT16, INT8 = 0, 0x01306B47, 0x000D4B38
_DTYPES: dict[int, np.dtype[Any]] = {FLOAT32: np.dtype("<f4"), FLOAT16: np.dtype("<f2"), INT8: np.dtype("i1")}
_TAGS = {dtype.name: tag for tag, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class Weights:
    """One buffer of the binary. tagged: whether it says how it is stored; else it is float32. values: 1-D."""

    values: Array
    tagged: bool

    def to_bytes(self) -> bytes:
        """The tag, if it has one, and the values, padded to a multiple of 4 bytes."""
        tag = struct.pack("<I", _TAGS[self.values.dtype.name]) if self.tagged else b""
        data = self.values.tobytes()
        return tag + data + b"\0" * (-len(data) % 4)


@dataclass(frozen=True)
class Layer:
    """One line of the text. params: key -> text of the value. weights: in the order of the binary."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[str, str]
    weights: tuple[Weights, ...] = ()

    def number(self, key: int, default: int = 0) -> int:
        """The value of a key as an integer; ValueError if it is none."""
        return int(self.params.get(str(key), default))

    def line(self) -> str:
        """As it stands in the text."""
        words = [self.kind, self.name, str(len(self.inputs)), str(len(self.outputs)), *self.inputs, *self.outputs]
        return " ".join([*words, *(f"{key}={value}" for key, value in self.params.items())])


def read(param: str, binary: bytes, name: str) -> tuple[Layer, ...]:
    """InvalidArtifact if the two do not belong together or are damaged; Unsupported for a layer whose weights are not known here."""
    try:
        layers = parsed(param)
        reader = _Reader(binary)
        loaded = tuple(replace(layer, weights=tuple(_loaded(layer, reader))) for layer in layers)
    except (ValueError, LookupError, ArithmeticError, struct.error) as error:
        raise InvalidArtifact(f"{name} is not a whole ncnn model ({error}): export it again") from error
    if reader.position != len(binary):
        unknown = sorted({layer.kind for layer in layers} - _LOADS.keys() - _BARE)
        raise Unsupported(f"{name} has layers whose weights edgedl does not read: {', '.join(unknown) or 'unknown'}")
    return loaded


def written(layers: Sequence[Layer]) -> tuple[str, bytes]:
    """(text, binary), as `read` takes them."""
    blobs = {blob for layer in layers for blob in layer.outputs}
    lines = ["7767517", f"{len(layers)} {len(blobs)}", *(layer.line() for layer in layers)]
    return "\n".join(lines) + "\n", b"".join(weights.to_bytes() for layer in layers for weights in layer.weights)


def parsed(param: str) -> tuple[Layer, ...]:
    """The layers of the text, without their weights."""
    return tuple(map(_parsed, param.splitlines()[2:]))


def _parsed(line: str) -> Layer:
    kind, name, ins, outs, *rest = line.split()
    inputs, outputs = rest[: int(ins)], rest[int(ins) : int(ins) + int(outs)]
    params = dict(word.split("=", 1) for word in rest[int(ins) + int(outs) :])
    return Layer(kind, name, tuple(inputs), tuple(outputs), params)


class _Reader:
    """position: of the next byte."""

    def __init__(self, binary: bytes) -> None:
        self._binary, self.position = binary, 0

    def take(self, count: int, tagged: bool) -> Weights:
        """The next `count` values; ValueError if there are not so many, or an unknown tag is before them."""
        dtype = _DTYPES[FLOAT32]
        if tagged:
            (tag,) = struct.unpack_from("<I", self._binary, self.position)
            if tag not in _DTYPES:
                raise ValueError(f"a weight has the tag {tag:#x}")
            dtype, self.position = _DTYPES[tag], self.position + 4
        if count < 0 or self.position + count * dtype.itemsize > len(self._binary):
            raise ValueError("its weights are cut")
        values = np.frombuffer(self._binary, dtype, count, self.position)
        self.position += -(-count * dtype.itemsize // 4) * 4
        return Weights(values, tagged)


Sizes = Iterator[tuple[int, bool]]
"""(elements, tagged) of each buffer"""


def _loaded(layer: Layer, reader: _Reader) -> Iterator[Weights]:
    for count, tagged in _LOADS.get(layer.kind, _nothing)(layer):
        yield reader.take(count, tagged)


def _nothing(layer: Layer) -> Sizes:
    yield from ()


def _convolution(layer: Layer) -> Sizes:
    term, outputs = layer.number(8), layer.number(0)
    yield layer.number(6), True
    if layer.number(5):
        yield outputs, False
    if term:
        yield layer.number(7) if layer.kind == "ConvolutionDepthWise" and term % 100 == 1 else outputs, False
        yield 1, False
    if term > 100:
        yield 1, False


def _plain(dynamic: int) -> Callable[[Layer], Sizes]:
    """A convolution that has no int8 form. dynamic: the key that says that its weights are an input."""

    def sizes(layer: Layer) -> Sizes:
        if not layer.number(dynamic):
            yield layer.number(6), True
            if layer.number(5):
                yield layer.number(0), False

    return sizes


def _dense(layer: Layer) -> Sizes:
    yield layer.number(2), True
    if layer.number(1):
        yield layer.number(0), False
    if layer.number(8):
        yield layer.number(0), False
        yield 1, False


def _recurrent(gates: int, biases: int) -> Callable[[Layer], Sizes]:
    def sizes(layer: Layer) -> Sizes:
        units, directions = layer.number(0), 2 if layer.number(2) == 2 else 1
        hidden = layer.number(3, units) if layer.kind == "LSTM" else units
        yield layer.number(1), True
        yield hidden * biases * directions, True
        yield units * hidden * gates * directions, True
        if hidden != units:
            yield units * hidden * directions, True

    return sizes


def _gemm(layer: Layer) -> Sizes:
    m, n, k = (layer.number(key) for key in (7, 8, 9))
    broadcast = {-1: 0, 0: 1, 1: m, 2: m, 3: n * m, 4: n}[layer.number(10)]
    for constant, count in ((4, m * k), (5, n * k), (6, broadcast)):
        if layer.number(constant) and count:
            yield count, True


def _memory(layer: Layer) -> Sizes:
    sides = (layer.number(key) for key in (0, 1, 11, 2))
    yield int(np.prod([side for side in sides if side] or [0])), False


def _norm(size: int, affine: int, buffers: int = 2) -> Callable[[Layer], Sizes]:
    """size, affine: the keys of how many factors (and offsets) there are, and whether there are any."""
    return lambda layer: iter([(layer.number(size), False)] * (buffers if layer.number(affine, 1) else 0))


def _scale(layer: Layer) -> Sizes:
    """Its factors may be an input, and their number is -233 then."""
    if layer.number(0) >= 0:
        yield from [(layer.number(0), False)] * (2 if layer.number(1) else 1)


def _embedding(layer: Layer) -> Sizes:
    yield layer.number(3), True
    if layer.number(2):
        yield layer.number(0), False


def _attention(layer: Layer) -> Sizes:
    width, size = layer.number(0), layer.number(2)
    for inner in (size // width, layer.number(3, width), layer.number(4, width)):
        yield width * inner, True
        yield width, False
    yield size, True
    yield size // width, False


_LOADS: dict[str, Callable[[Layer], Sizes]] = {
    "Convolution": _convolution,
    "ConvolutionDepthWise": _convolution,
    **{f"Convolution{kind}": _plain(19) for kind in ("1D", "3D", "DepthWise1D", "DepthWise3D")},
    **{f"Deconvolution{kind}": _plain(28) for kind in ("", "1D", "3D", "DepthWise", "DepthWise1D", "DepthWise3D")},
    "DeformableConv2D": _plain(19),
    "InnerProduct": _dense,
    "MultiHeadAttention": _attention,
    "LSTM": _recurrent(4, 4),
    "GRU": _recurrent(3, 4),
    "RNN": _recurrent(1, 1),
    "Gemm": _gemm,
    "MemoryData": _memory,
    "LayerNorm": _norm(0, 2),
    "GroupNorm": _norm(1, 3),
    "InstanceNorm": _norm(0, 2),
    "RMSNorm": _norm(0, 2, buffers=1),
    "Scale": _scale,
    "Bias": lambda layer: iter([(layer.number(0), False)]),
    "Embed": _embedding,
    "PReLU": lambda layer: iter([(layer.number(0), False)]),
    "BatchNorm": lambda layer: iter([(layer.number(0), False)] * 4),
}
_BARE = frozenset({
    "Input", "Split", "ReLU", "Clip", "BinaryOp", "UnaryOp", "Reshape", "Permute", "Reduction", "Pooling", "Pooling1D", "Concat", "Slice",
    "Crop", "Padding", "Softmax", "Sigmoid", "TanH", "Swish", "HardSwish", "HardSigmoid", "GELU", "ELU", "Squeeze",
    "ExpandDims", "Flatten", "MatMul", "SDPA", "Interp", "Noop", "Dropout", "PixelShuffle", "ShuffleChannel", "Pooling3D", "Log", "Exp",
    "Power", "AbsVal", "Mish", "Softplus", "SELU", "CELU", "Erf", "GLU", "Tile", "Reorg", "GridSample", "Fold", "Unfold", "CopyTo",
    "CumulativeSum", "Diag", "Einsum", "LRN", "MVN", "Threshold",
})  # fmt: skip
"""Layers without weights; another one is read as one, and named where the weights then do not come out even"""
