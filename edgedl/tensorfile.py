"""Named arrays in the safetensors format, with numpy alone.

A device must read its golden vectors without another package, and the same bytes carry arrays between processes.
Format: https://github.com/huggingface/safetensors#format - 8 bytes little-endian header length, JSON header, data.
"""

from __future__ import annotations

import json
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
    """The arrays and the metadata of a safetensors file; InvalidArtifact, naming `source`, if it is not a whole one."""
    try:
        length = int.from_bytes(data[:8], "little")
        if length > min(_MAX_HEADER, len(data) - 8):
            raise ValueError(f"the header says {length} bytes and {len(data)} are there")
        header = json.loads(data[8 : 8 + length])
        metadata = header.pop("__metadata__", {})
        body = memoryview(data)[8 + length :]
        return {name: _array(entry, body) for name, entry in header.items()}, metadata
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InvalidArtifact(f"{source} is not a whole safetensors file: {error}") from error


def _array(entry: dict[str, Any], body: memoryview) -> Array:
    start, end = entry["data_offsets"]
    dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if not 0 <= start <= end <= len(body) or end - start != count * dtype.itemsize:
        raise ValueError(f"offsets {start}..{end} do not hold {shape} {dtype}")
    return np.frombuffer(body[start:end], dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=True)
