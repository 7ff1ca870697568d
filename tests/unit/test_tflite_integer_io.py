"""Inputs and outputs stored as integers: the same numbers as behind float ones."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tflite_models import quantized, sample

from edgedl import load
from edgedl.errors import Unsupported
from edgedl.runtime import accept
from edgedl_tflite import flatbuffer, integer_io
from edgedl_tflite.check import read_checked


def _stored(tmp_path, dtype):
    model = read_checked(quantized("mlp", "w8a8"))
    integer_io.store("mlp", model, dtype)
    path = tmp_path / f"{dtype}.tflite"
    path.write_bytes(flatbuffer.serialize(model))
    return path


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_integers_at_both_ends_give_the_numbers_of_the_float_file(tmp_path, dtype):
    session, x = load(_stored(tmp_path, dtype)), sample("mlp", 2)
    (spec,), (result,) = session.inputs, session.outputs
    assert (spec.name, spec.dtype, result.name, result.dtype) == ("x", dtype, "y", dtype)
    assert spec.quantization is not None
    assert result.quantization is not None
    expected = load(quantized("mlp", "w8a8")).run({"x": x})["y"]
    np.testing.assert_allclose(session.run({"x": x})["y"], expected, atol=result.quantization.scale * 0.01)
    np.testing.assert_allclose(session.run(accept({"x": x}, session.inputs))["y"], expected, atol=1e-6)


def test_uint8_is_int8_with_another_zero_point(tmp_path):
    signed, unsigned = load(_stored(tmp_path, "int8")), load(_stored(tmp_path, "uint8"))
    for a, b in zip((*signed.inputs, *signed.outputs), (*unsigned.inputs, *unsigned.outputs), strict=True):
        assert (a.quantization.scale, a.quantization.zero_point + 128) == (
            b.quantization.scale,
            b.quantization.zero_point,
        )


def test_int8_needs_no_conversion_in_the_file(tmp_path):
    model = read_checked(_stored(tmp_path, "int8"))
    codes = {flatbuffer.code_of(model, operator) for operator in model.subgraphs[0].operators}
    assert not codes & {schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE}


def test_an_end_in_float_and_several_signatures_are_refused():
    with pytest.raises(Unsupported, match=r"the input 'x' of mlp is read in float .* leave out --io"):
        integer_io.store("mlp", read_checked(quantized("mlp", "w8a8-dynamic")), "int8")
    with pytest.raises(Unsupported, match="has 2 signatures"):
        integer_io.check("net", "int8", 2)
