from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load, save

from edgedl import tensorfile
from edgedl.errors import InvalidArtifact, InvalidTensor

DTYPES = [
    "bool",
    "uint8",
    "int8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
]
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
names = st.text(st.characters(codec="utf-8"), max_size=12).filter(lambda name: name != "__metadata__")
tensors = st.dictionaries(names, arrays, max_size=4)


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and a[n].shape == b[n].shape and a[n].tobytes() == b[n].tobytes() for n in a
    )


@given(tensors, st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2))
def test_round_trip(given_tensors: dict[str, Any], metadata: dict[str, str]) -> None:
    decoded, told = tensorfile.decode(tensorfile.encode(given_tensors, metadata))
    assert same(decoded, given_tensors)
    assert told == metadata


@given(tensors)
def test_the_reference_implementation_reads_ours(given_tensors: dict[str, Any]) -> None:
    assert same(load(tensorfile.encode(given_tensors)), given_tensors)


@given(tensors)
def test_we_read_the_reference_implementation(given_tensors: dict[str, Any]) -> None:
    assert same(tensorfile.decode(save(given_tensors))[0], given_tensors)


def test_views_and_foreign_byte_order_are_stored_by_value() -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    decoded, _ = tensorfile.decode(tensorfile.encode({"t": matrix.T, "b": matrix.astype(">f4"), "s": matrix[:, ::2]}))
    assert decoded["t"].tolist() == matrix.T.tolist()
    assert decoded["b"].tolist() == matrix.tolist()
    assert decoded["s"].tolist() == matrix[:, ::2].tolist()


SMALL = tensorfile.encode({"a": np.arange(3, dtype=np.float32), "b": np.ones((2, 2), np.int8)}, {"k": "v"})


FAULTS = sorted((Path(__file__).parents[1] / "faults" / "weights").glob("*.safetensors"))


@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_a_malformed_header_is_refused(path: Path) -> None:
    """Holes, overlaps, names that stand twice, shapes that are no whole numbers, NaN."""
    with pytest.raises(InvalidArtifact, match="is not a whole safetensors file"):
        tensorfile.decode(path.read_bytes(), path.name)


def test_too_many_tensors_are_refused() -> None:
    entry = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    header = ("{" + ",".join(f'"{n}":{entry}' for n in range(100_001)) + "}").encode()
    with pytest.raises(InvalidArtifact, match="100001 tensors"):
        tensorfile.decode(len(header).to_bytes(8, "little") + header)


@pytest.mark.parametrize("length", range(len(SMALL)))
def test_every_truncation_is_refused(length: int) -> None:
    with pytest.raises(InvalidArtifact, match=r"^f\.bin is not a whole safetensors file"):
        tensorfile.decode(SMALL[:length], "f.bin")


def test_every_byte_mutation_gives_arrays_or_one_error() -> None:
    refused = 0
    for position in range(len(SMALL)):
        for value in (0, 0xFF, SMALL[position] ^ 1, SMALL[position] ^ 0x20, ord("9"), ord("]"), ord('"')):
            mutant = SMALL[:position] + bytes([value]) + SMALL[position + 1 :]
            try:
                decoded, _ = tensorfile.decode(mutant)
            except InvalidArtifact:
                refused += 1
            else:
                assert all(isinstance(array, np.ndarray) for array in decoded.values())
    assert refused > 100


def with_header(header: Any, body: bytes = b"\0" * 16) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


@pytest.mark.parametrize(
    "header",
    [
        [], "text", 3, None, {"a": 1}, {"a": {}}, {"a": {"dtype": "F32", "shape": [1]}},
        {"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [0, 2**70], "data_offsets": [0, 0]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [16, 20]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0.0, 4.0]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}},
    ],
)  # fmt: skip
def test_lying_headers_are_refused(header: Any) -> None:
    with pytest.raises(InvalidArtifact):
        tensorfile.decode(with_header(header))


def test_a_deeply_nested_header_is_refused() -> None:
    text = b"[" * 100_000
    with pytest.raises(InvalidArtifact):
        tensorfile.decode(len(text).to_bytes(8, "little") + text)


@given(st.binary(max_size=64))
def test_noise_raises_nothing_else(data: bytes) -> None:
    try:
        assert isinstance(tensorfile.decode(data)[0], dict)
    except InvalidArtifact as error:
        assert "safetensors" in str(error)


@pytest.mark.parametrize("tensor", [np.zeros(2, complex), np.array(["a"]), np.array([None])])
def test_what_the_format_has_no_code_for_is_refused_by_name(tensor: Any) -> None:
    with pytest.raises(InvalidTensor, match="'x'"):
        tensorfile.encode({"x": tensor})


def test_a_tensor_cannot_take_the_place_of_the_metadata() -> None:
    with pytest.raises(InvalidTensor, match="__metadata__"):
        tensorfile.encode({"__metadata__": np.zeros(1)})
