"""Simplified graphs: fewer operators, the same outputs, the same names."""

from __future__ import annotations

from collections import Counter
from math import prod

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedl_tflite import flatbuffer
from edgedl_tflite.graphs import GraphBuilder
from edgedl_tflite.simplify import simplify

CODE = schema.BuiltinOperator
RELU = schema.ActivationFunctionType.RELU
TIME, HEADS, WIDTH = 6, 2, 4
MODEL = HEADS * WIDTH


class Drawing(GraphBuilder):
    """A model of one graph, drawn by hand, and what becomes of it."""

    def __init__(self) -> None:
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [], [graph]
        graph.name, graph.tensors, graph.operators = "main", [], []
        super().__init__(model, graph, "drawn", graph.operators)
        self.random = np.random.default_rng(0)

    def weights(self, *shape: int) -> int:
        return self.constant(self.random.standard_normal(shape).astype(np.float32))

    def number(self, value: float) -> int:
        return self.constant(np.array(value, np.float32))

    def dense(self, x: int, outputs: int, activation: int = 0) -> int:
        inputs = flatbuffer.shape_of(self.graph.tensors[x])[-1]
        y = self.matrix_product(x, self.weights(outputs, inputs), self.weights(outputs))
        self.operators[-1].builtinOptions.fusedActivationFunction = activation
        return y

    def transpose(self, x: int, *permutation: int) -> int:
        shape = flatbuffer.shape_of(self.graph.tensors[x])
        output = self.tensor([shape[axis] for axis in permutation])
        self.transpose_into(x, permutation, output)
        return output

    def slice(self, x: int, begin: list[int], size: list[int]) -> int:
        bounds = [self.constant(np.array(each, np.int32)) for each in (begin, size)]
        lengths = zip(flatbuffer.shape_of(self.graph.tensors[x]), begin, size, strict=True)
        shape = [whole - first if n < 0 else n for whole, first, n in lengths]
        return self.add(CODE.SLICE, [x, *bounds], [self.tensor(shape)], schema.SliceOptionsT())

    def matmul(self, x: int, y: int) -> int:
        rows, columns = (flatbuffer.shape_of(self.graph.tensors[index]) for index in (x, y))
        return self.add(
            CODE.BATCH_MATMUL, [x, y], [self.tensor([*rows[:-1], columns[-1]])], schema.BatchMatMulOptionsT()
        )

    def softmax(self, x: int) -> int:
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        return self.add(CODE.SOFTMAX, [x], [self.like(self.graph.tensors[x])], options)

    def quotient(self, x: int, y: int) -> int:
        return self.add(CODE.DIV, [x, y], [self.like(self.graph.tensors[x])], schema.DivOptionsT())

    def mean(self, x: int, axis: int) -> int:
        """Over the first axis too, and without either."""
        shape = list(flatbuffer.shape_of(self.graph.tensors[x]))
        del shape[axis], shape[0]
        operand = self.constant(np.array([0, axis], np.int32))
        return self.add(CODE.MEAN, [x, operand], [self.tensor(shape)], schema.ReducerOptionsT())

    def layer_norm(self, x: int, axis: int = 2) -> int:
        """As litert-torch writes it, of a tensor of rank 3."""
        shape = list(flatbuffer.shape_of(self.graph.tensors[x]))
        shape[0] = shape[axis] = 1
        mean = self.mean(x, axis)
        squares = self.like(self.graph.tensors[x])
        options = schema.SquaredDifferenceOptionsT()
        self.add(CODE.SQUARED_DIFFERENCE, [x, self.reshape(mean, shape)], [squares], options)
        root = self.unary(CODE.RSQRT, self.sum(self.mean(squares, axis), self.number(1e-5)))
        product = self.product(root, mean)
        shift = self.like(self.graph.tensors[product])
        self.add(CODE.SUB, [self.number(0), product], [shift], schema.SubOptionsT())
        return self.sum(self.product(x, self.reshape(root, shape)), self.reshape(shift, shape))

    def packed(self, x: int, channels: int = 3 * MODEL) -> tuple[int, int, int]:
        """Query, key and value as torch's own attention cuts them from the product of packed weights."""
        y = self.transpose(self.reshape(self.dense(x, channels), [TIME, 1, 3, MODEL]), 2, 0, 1, 3)
        q, k, v = (self.slice(y, [n, 0, 0, 0], [1, TIME, 1, MODEL]) for n in range(3))
        return q, k, v

    def simplified(self, inputs: list[int], *outputs: int, tolerance: float = 1e-5) -> Counter[str]:
        """The operators that are left, after a proof that names and values are what they were."""
        self.graph.inputs, self.graph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        before = _run(self.model)
        simplify(self.model)
        after = _run(self.model)
        assert before.keys() == after.keys()
        for name, values in before.items():
            np.testing.assert_allclose(after[name], values, atol=tolerance, rtol=tolerance)
        return Counter(flatbuffer.operator_name(self.model, one) for one in self.graph.operators)

    @property
    def bytes_of_constants(self) -> int:
        return sum(len(buffer.data) for buffer in self.model.buffers if buffer.data is not None)


def _run(model) -> dict[str, np.ndarray]:
    interpreter = Interpreter(model_content=flatbuffer.serialize(model), num_threads=1)
    interpreter.allocate_tensors()
    generator = np.random.default_rng(1)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], generator.standard_normal(detail["shape"]).astype(np.float32))
    interpreter.invoke()
    return {d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}


def test_packed_query_key_and_value_are_three_layers():
    drawn = Drawing()
    x = drawn.tensor([1, TIME, MODEL])
    before = drawn.simplified([x], *drawn.packed(x))
    assert before == {"FULLY_CONNECTED": 3, "RESHAPE": 3}


def test_heads_that_are_moved_anyway_stay_in_one_product():
    drawn = Drawing()
    x = drawn.tensor([1, TIME, MODEL])
    y = drawn.transpose(drawn.reshape(drawn.dense(x, 3 * MODEL), [1, TIME, 3, HEADS, WIDTH]), 2, 0, 3, 1, 4)
    parts = [
        drawn.reshape(drawn.slice(y, [n, 0, 0, 0, 0], [1, 1, HEADS, TIME, WIDTH]), [HEADS, TIME, WIDTH])
        for n in range(3)
    ]
    left = drawn.simplified([x], *parts)
    assert (left["FULLY_CONNECTED"], left["TRANSPOSE"], left["SLICE"]) == (1, 1, 3)


def test_a_product_that_is_cut_where_it_lies_stays():
    drawn = Drawing()
    x = drawn.tensor([2, TIME, MODEL])
    y = drawn.dense(x, 10, RELU)
    parts = [drawn.slice(y, [0, 0, 0], [2, TIME, 3]), drawn.slice(y, [0, 0, 3], [2, TIME, -1])]
    assert drawn.simplified([x], *parts) == {"FULLY_CONNECTED": 1, "SLICE": 2}


@pytest.mark.parametrize("begin, size", [([0, 0, 0], [2, TIME, MODEL]), ([1, 1, 0], [1, TIME - 1, MODEL])])
def test_parts_that_overlap_or_leave_out_rows_stay_slices(begin, size):
    drawn = Drawing()
    x = drawn.tensor([TIME, MODEL])
    y = drawn.transpose(drawn.reshape(drawn.dense(x, 3 * MODEL), [TIME, 3, MODEL]), 1, 0, 2)
    parts = [drawn.slice(y, [0, 0, 0], [1, TIME, MODEL]), drawn.slice(y, begin, size)]
    left = drawn.simplified([x], *parts)
    assert (left["FULLY_CONNECTED"], left["SLICE"]) == (1, 2)


def test_a_packed_product_that_something_else_reads_stays():
    drawn = Drawing()
    x = drawn.tensor([TIME, MODEL])
    y = drawn.dense(x, 3 * MODEL)
    z = drawn.transpose(drawn.reshape(y, [TIME, 3, MODEL]), 1, 0, 2)
    left = drawn.simplified([x], y, *(drawn.slice(z, [n, 0, 0], [1, TIME, MODEL]) for n in range(3)))
    assert (left["FULLY_CONNECTED"], left["SLICE"]) == (1, 3)


def test_layers_with_shared_weights_share_their_parts():
    drawn = Drawing()
    x = source = drawn.tensor([TIME, MODEL])
    weights = drawn.weights(2 * MODEL, MODEL)
    for _ in range(2):
        y = drawn.reshape(drawn.matrix_product(x, weights, -1), [TIME, 2, MODEL])
        y = drawn.transpose(y, 1, 0, 2)
        parts = [drawn.slice(y, [n, 0, 0], [1, TIME, MODEL]) for n in range(2)]
        x = drawn.reshape(drawn.sum(*parts), [TIME, MODEL])
    left = drawn.simplified([source], x)
    assert (left["FULLY_CONNECTED"], left["SLICE"]) == (4, 0)
    shapes = 4 * 8 * 2 * 3  # of the RESHAPEs
    assert drawn.bytes_of_constants <= 4 * 2 * MODEL * MODEL + shapes


def test_a_table_of_embeddings_that_a_layer_shares_stays_one():
    drawn = Drawing()
    x, rows = drawn.tensor([1, TIME, MODEL]), drawn.constant(np.arange(TIME, dtype=np.int32))
    table = drawn.weights(9, MODEL)
    found = drawn.add(CODE.GATHER, [table, rows], [drawn.tensor([TIME, MODEL])], schema.GatherOptionsT())
    y = drawn.product(drawn.matrix_product(x, table, -1), drawn.number(0.5))
    assert drawn.simplified([x], y, found)["MUL"] == 1


def test_a_factor_goes_into_the_layer_that_it_scales():
    drawn = Drawing()
    x = drawn.tensor([1, TIME, MODEL])
    y = drawn.product(drawn.reshape(drawn.dense(x, MODEL), [TIME, HEADS, WIDTH]), drawn.number(0.35))
    assert drawn.simplified([x], drawn.transpose(y, 1, 0, 2)) == {"FULLY_CONNECTED": 1, "RESHAPE": 1, "TRANSPOSE": 1}


def test_a_divisor_of_scores_goes_into_the_query():
    drawn = Drawing()
    x, keys = drawn.tensor([1, TIME, MODEL]), drawn.tensor([1, MODEL, TIME])
    scores = drawn.quotient(drawn.matmul(drawn.dense(x, MODEL), keys), drawn.number(2.83))
    left = drawn.simplified([x, keys], drawn.softmax(scores))
    assert left == {"FULLY_CONNECTED": 1, "BATCH_MATMUL": 1, "SOFTMAX": 1}


def test_a_factor_of_an_activation_or_of_a_shared_result_stays():
    drawn = Drawing()
    x = drawn.tensor([1, TIME, MODEL])
    bent, shared = drawn.dense(x, 5, RELU), drawn.dense(x, 5)
    scaled = [drawn.unary(CODE.ABS, drawn.product(y, drawn.number(-2))) for y in (bent, shared)]
    assert drawn.simplified([x], *scaled, shared)["MUL"] == 2


def test_a_transposed_key_is_read_as_it_was():
    drawn = Drawing()
    q, k = drawn.tensor([HEADS, TIME, WIDTH]), drawn.tensor([HEADS, TIME, WIDTH])
    four = drawn.transpose(drawn.reshape(k, [1, HEADS, TIME, WIDTH]), 0, 1, 3, 2)
    scores = drawn.matmul(q, drawn.reshape(four, [HEADS, WIDTH, TIME]))
    assert drawn.simplified([q, k], scores)["TRANSPOSE"] == 0


def test_softmax_needs_no_reshape_that_the_next_one_undoes():
    drawn = Drawing()
    x, v = drawn.tensor([HEADS, TIME, TIME]), drawn.tensor([HEADS, TIME, WIDTH])
    scores = drawn.softmax(drawn.reshape(drawn.unary(CODE.ABS, x), [1, HEADS, TIME, TIME]))
    y = drawn.matmul(drawn.reshape(scores, [HEADS, TIME, TIME]), v)
    assert drawn.simplified([x, v], y) == {"ABS": 1, "SOFTMAX": 1, "BATCH_MATMUL": 1}


def test_softmax_behind_a_reshape_of_its_axis_stays():
    drawn = Drawing()
    x = drawn.tensor([HEADS, TIME, TIME])
    y = drawn.softmax(drawn.reshape(x, [HEADS, TIME * TIME]))
    assert drawn.simplified([x], y) == {"RESHAPE": 1, "SOFTMAX": 1}


def masked(drawn: Drawing, scores: int, value: float, hides: bool) -> int:
    """The scores with a number in the place of those that look ahead."""
    ahead = np.triu(np.ones((TIME, TIME), bool), 1)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer((ahead if hides else ~ahead).tobytes(), np.uint8)
    drawn.model.buffers.append(buffer)
    mask = drawn.tensor([TIME, TIME], schema.TensorType.BOOL)
    drawn.graph.tensors[mask].buffer = len(drawn.model.buffers) - 1
    chosen = [drawn.number(value), scores] if hides else [scores, drawn.number(value)]
    return drawn.add(
        CODE.SELECT_V2, [mask, *chosen], [drawn.like(drawn.graph.tensors[scores])], schema.SelectV2OptionsT()
    )


@pytest.mark.parametrize("hides", [True, False])
@pytest.mark.parametrize("value", [-np.inf, float(np.finfo(np.float32).min)])
def test_a_constant_mask_is_added_to_the_scores(value, hides):
    drawn = Drawing()
    drawn.weights(64, 64)
    x = drawn.tensor([HEADS, TIME, TIME])
    y = drawn.softmax(masked(drawn, x, value, hides))
    assert drawn.simplified([x], y, tolerance=0) == {"ADD": 1, "SOFTMAX": 1}


def test_a_mask_that_would_weigh_much_beside_the_weights_stays():
    drawn = Drawing()
    drawn.weights(8, 8)
    x = drawn.tensor([HEADS, TIME, TIME])
    assert drawn.simplified([x], drawn.softmax(masked(drawn, x, -np.inf, True))) == {"SELECT_V2": 1, "SOFTMAX": 1}


@pytest.mark.parametrize("value", [0.0, -100.0])
def test_a_mask_of_numbers_that_count_stays(value):
    drawn = Drawing()
    drawn.weights(64, 64)
    x = drawn.tensor([HEADS, TIME, TIME])
    assert drawn.simplified([x], drawn.softmax(masked(drawn, x, value, True)))["SELECT_V2"] == 1


def test_a_mask_of_anything_but_scores_stays():
    drawn = Drawing()
    drawn.weights(64, 64)
    x = drawn.tensor([HEADS, TIME, TIME])
    assert drawn.simplified([x], masked(drawn, x, -np.inf, True)) == {"SELECT_V2": 1}


def test_layer_norm_takes_the_mean_away_once():
    drawn = Drawing()
    x = drawn.tensor([1, TIME, MODEL])
    left = drawn.simplified([x], drawn.layer_norm(x))
    assert left == {"MEAN": 2, "SUB": 1, "MUL": 2, "ADD": 1, "RSQRT": 1}


def test_layer_norm_of_a_reshaped_tensor_reads_it_as_it_was():
    drawn = Drawing()
    x = drawn.tensor([2, TIME, MODEL])
    y = drawn.reshape(drawn.layer_norm(drawn.reshape(x, [1, 2 * TIME, MODEL])), [2, TIME, MODEL])
    assert drawn.simplified([x], y)["RESHAPE"] == 0


def test_layer_norm_keeps_its_digits_where_the_mean_is_large():
    drawn = Drawing()
    x = drawn.tensor([1, TIME, MODEL])
    shifted = drawn.sum(x, drawn.number(1000))
    y = drawn.layer_norm(shifted)
    drawn.graph.inputs, drawn.graph.outputs = np.array([x], np.int32), np.array([y], np.int32)
    simplify(drawn.model)
    (got,) = _run(drawn.model).values()
    values = np.random.default_rng(1).standard_normal((1, TIME, MODEL)).astype(np.float32).astype(np.float64)
    expected = (values - values.mean(-1, keepdims=True)) / np.sqrt(values.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(got, expected, atol=2e-4)


def test_a_norm_along_another_axis_stays():
    drawn = Drawing()
    x = drawn.tensor([1, TIME, MODEL])
    assert drawn.simplified([x], drawn.layer_norm(x, axis=1))["SQUARED_DIFFERENCE"] == 1


def test_a_norm_over_the_batch_too_stays():
    drawn = Drawing()
    x = drawn.tensor([2, TIME, MODEL])
    assert drawn.simplified([x], drawn.layer_norm(x))["SQUARED_DIFFERENCE"] == 1


def test_an_output_keeps_its_name_where_its_reshape_has_no_effect():
    drawn = Drawing()
    x = drawn.tensor([TIME, MODEL])
    y = drawn.reshape(drawn.reshape(drawn.unary(CODE.ABS, x), [MODEL, TIME]), [TIME, MODEL])
    drawn.graph.tensors[y].name = "logits"
    assert drawn.simplified([x], y) == {"ABS": 1}


def test_an_output_that_is_an_input_keeps_its_copy():
    drawn = Drawing()
    x = drawn.tensor([TIME, MODEL])
    assert drawn.simplified([x], drawn.reshape(x, [TIME, MODEL])) == {"RESHAPE": 1}


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_chain_of_reshapes_and_transposes_gives_the_same_values(data):
    drawn = Drawing()
    x = y = drawn.tensor([2, 3, 1, 4])
    for _ in range(data.draw(st.integers(1, 6))):
        shape = flatbuffer.shape_of(drawn.graph.tensors[y])
        if data.draw(st.booleans()):
            y = drawn.transpose(y, *data.draw(st.permutations(range(len(shape)))))
        else:
            first = data.draw(st.sampled_from([1, 2, 3, 4, 6, 8, 12, 24]))
            second = data.draw(st.sampled_from([n for n in (1, 2, 3, 4, 6) if (24 // first) % n == 0]))
            y = drawn.reshape(y, [first, second, prod(shape) // first // second])
    operators = len(drawn.operators)
    assert drawn.simplified([x], y, tolerance=0).total() <= operators
