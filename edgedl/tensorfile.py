"""Named arrays in the safetensors format, with numpy alone.

A device must read its golden vectors without another package, and the same bytes carry arrays between processes.
Format: https://github.com/huggingface/safetensors#format - 8 bytes little-endian header length, JSON header, data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgedl.errors import InvalidArtifact, InvalidTensor
from edgedl.spec import Array, Feeds

_CODES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "int32": "I32", "uint32": "U32",
    "int64": "I64", "uint64": "U64", "float16": "F16", "float32": "F32", "float64": "F64",
}  # fmt: skip
_DTYPES = {code: np.dtype(name).newbyteorder("<") for name, code in _CODES.items()}
_MAX_HEADER = 100_000_000  # bytes, the reference implementation's limit
_MAX_ENTRIES = 100_000


def encode(tensors: Feeds, metadata: Mapping[str, str] | None = None) -> bytes:
    """The safetensors file that holds `tensors` (any of the numpy dtypes above) and string `metadata`."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    blocks, offset = [], 0
    for name, tensor in tensors.items():
        if tensor.dtype.name not in _CODES or name == "__metadata__":
            raise InvalidTensor(
                f"tensor {name!r} of {tensor.dtype} cannot be stored: expected one of {', '.join(_CODES)}"
            )
        block = np.ascontiguousarray(tensor).astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes()
        span = [offset, offset + len(block)]
        header[name] = {"dtype": _CODES[tensor.dtype.name], "shape": list(tensor.shape), "data_offsets": span}
        blocks.append(block)
        offset += len(block)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, *blocks))


def decode(data: bytes, source: str = "tensor file") -> tuple[dict[str, Array], dict[str, str]]:
    """Read a safetensors file as strictly as the reference implementation does, or more so.

    Args:
        data: The bytes of the file.
        source: What to call it in a message.

    Returns:
        The arrays by name, in the machine's byte order, and the metadata.

    Raises:
        InvalidArtifact: If the header is no JSON of known fields, a name stands twice, a shape or an offset is no whole number,
            or the tensors do not fill the file exactly: no hole, no overlap, nothing left over.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        if length > min(_MAX_HEADER, len(data) - 8):
            raise ValueError(f"the header says {length} bytes and {len(data)} are there")
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_unique, parse_constant=_refuse_constant)
        metadata = header.pop("__metadata__", {})
        body = memoryview(data)[8 + length :]
        _check_header(header, metadata, len(body))
        return {name: _array(entry, body) for name, entry in header.items()}, metadata
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError) as error:
        raise InvalidArtifact(f"{source} is not a whole safetensors file: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands in the header twice")
    return table


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} in the header")


def _check_header(header: dict[str, Any], metadata: dict[str, Any], size: int) -> None:
    """ValueError or TypeError unless the entries cover `size` bytes without a hole."""
    if len(header) > _MAX_ENTRIES:
        raise ValueError(f"{len(header)} tensors, expected at most {_MAX_ENTRIES}")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("the metadata is not text")
    numbers = (n for entry in header.values() for n in (*entry["data_offsets"], *entry["shape"]))
    if odd := [n for n in numbers if type(n) is not int or n < 0]:
        raise ValueError(f"{odd[0]!r} is no length")
    end = 0
    for start, stop in sorted(tuple(entry["data_offsets"]) for entry in header.values()):
        if start != end:
            raise ValueError(f"a hole or an overlap at byte {min(start, end)}")
        end = stop
    if end != size:
        raise ValueError(f"the tensors end at byte {end} of {size}")


def _array(entry: dict[str, Any], body: memoryview) -> Array:
    start, end = entry["data_offsets"]
    dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
    count = math.prod(shape)
    if not start <= end <= len(body) or end - start != count * dtype.itemsize:
        raise ValueError(f"offsets {start}..{end} do not hold {shape} {dtype}")
    return np.frombuffer(body[start:end], dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=True)
