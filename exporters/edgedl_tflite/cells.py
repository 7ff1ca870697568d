"""One time step of each recurrent cell as TFLite operators.

Formulas: https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html (and GRU, RNN).
"""

from __future__ import annotations

from collections.abc import Callable

from ai_edge_litert import schema_py_generated as schema

from edgedl_tflite import flatbuffer
from edgedl_tflite.graphs import GraphBuilder

_CODE = schema.BuiltinOperator

Cell = Callable[[GraphBuilder, int, int, list[int]], list[int]]
"""(builder, projected input, projected hidden state, states) -> new states, the hidden one first.

Projections: [1, rows, gates x hidden]; states: [1, rows, hidden]; all as tensor indices.
"""


def lstm(builder: GraphBuilder, projected: int, recurrent: int, states: list[int]) -> list[int]:
    """Gates in the order input, forget, output, cell."""
    hidden = flatbuffer.shape_of(builder.graph.tensors[states[0]])[-1]
    logits, candidate = builder.split_at(builder.sum(recurrent, projected), [3 * hidden, hidden])
    entering, kept, shown = builder.split(builder.unary(_CODE.LOGISTIC, logits), 3, axis=2)
    new = builder.product(entering, builder.unary(_CODE.TANH, candidate))
    cell = builder.sum(builder.product(kept, states[1]), new)
    return [builder.product(shown, builder.unary(_CODE.TANH, cell)), cell]


def gru(builder: GraphBuilder, projected: int, recurrent: int, states: list[int]) -> list[int]:
    """Gates in the order reset, update, new; the reset gate acts behind the matrix product."""
    hidden = flatbuffer.shape_of(builder.graph.tensors[states[0]])[-1]
    gates_x, new_x = builder.split_at(projected, [2 * hidden, hidden])
    gates_h, new_h = builder.split_at(recurrent, [2 * hidden, hidden])
    reset, update = builder.split(builder.unary(_CODE.LOGISTIC, builder.sum(gates_x, gates_h)), 2, axis=2)
    new = builder.unary(_CODE.TANH, builder.sum(new_x, builder.product(reset, new_h)))
    return [builder.sum(new, builder.product(update, builder.difference(states[0], new)))]


def tanh(builder: GraphBuilder, projected: int, recurrent: int, states: list[int]) -> list[int]:
    return [builder.unary(_CODE.TANH, builder.sum(recurrent, projected))]


def relu(builder: GraphBuilder, projected: int, recurrent: int, states: list[int]) -> list[int]:
    return [builder.unary(_CODE.RELU, builder.sum(recurrent, projected))]


CELLS: dict[str, Cell] = {"lstm": lstm, "gru": gru, "tanh": tanh, "relu": relu}
