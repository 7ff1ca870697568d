"""What stays in float beside a layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgedl import QuantizationOptions, Task, registry
from edgedl.errors import Unsupported
from edgedl.islands import Step, beside
from edgedl.program import program_of
from edgedl.schemes import SCHEMES

RESIDUAL: list[Step] = [
    (None, ["x"], ["scaled"]), ("a", ["scaled"], ["a"]), (None, ["a"], ["a_act"]), ("b", ["a_act"], ["b"]),
    (None, ["a_act", "b"], ["sum"]), (None, ["sum"], ["act"]), ("c", ["act"], ["c"]), (None, ["act", "c"], ["out"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kept", "found"), [((), []), (("a",), [0, 2]), (("b",), [4, 5]), (("c",), [7]), (("a", "b", "c"), [0, 2, 4, 5, 7])]
)
def test_an_operator_belongs_to_the_last_layer_that_it_depends_on(kept: tuple[str, ...], found: list[int]) -> None:
    assert beside(RESIDUAL, kept) == found


@given(
    st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 9), max_size=3)), max_size=12), st.sets(st.integers(0, 11))
)
def test_layers_are_kept_as_if_each_were_alone(drawn: list[tuple[bool, set[int]]], kept: set[int]) -> None:
    steps: list[Step] = [
        (f"l{n}" if layer else None, [f"t{i}" for i in inputs if i < n], [f"t{n}"])
        for n, (layer, inputs) in enumerate(drawn)
    ]
    chosen = [f"l{n}" for n in kept]
    found = beside(steps, chosen)
    assert all(steps[n][0] is None for n in found)
    assert found == sorted({n for name in chosen for n in beside(steps, [name])})


class Swish(nn.Module):
    """An operator without weights behind each layer, and a sum."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = nn.functional.hardswish(self.first(x))
        result: torch.Tensor = self.last(first + nn.functional.hardswish(self.second(first)))
        return result


ROWS = np.random.default_rng(0).standard_normal((8, 2, 6, 6)).astype(np.float32)


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_activation_functions_and_sums_stay_float_with_their_layer(tmp_path: Path, format: str) -> None:
    exporter, module = registry.exporter(format), Swish().eval()
    source, path = tmp_path / f"net.{format}", tmp_path / f"int8.{format}"
    exporter.export(program_of(Task("net", lambda: module, lambda: {"x": ROWS[:1]}, outputs=("y",)), module), source)
    names = [layer.name for layer in exporter.layers(source)]
    rows = [{"x": row[None]} for row in ROWS]

    def roundings(kept: tuple[str, ...], how: str = "keep_float") -> int:
        exporter.quantize(source, SCHEMES["w8a8"], lambda: rows, path, QuantizationOptions(**{how: kept}))  # type: ignore[arg-type]
        counted = exporter.describe(path).operators
        return sum(count for name, count in counted.items() if name in ("QuantizeLinear", "QUANTIZE"))

    def error(kept: tuple[str, ...], how: str = "keep_float") -> float:
        """Of the sum, which is what the last layer reads."""
        roundings(kept, how)
        want, got = (dict(exporter.intermediates(p, rows[0])) for p in (source, path))
        in_order = list(want)
        name = in_order[in_order.index(exporter.layers(source)[-1].output) - 1]
        return float(np.sqrt(((want[name] - got[name]) ** 2).mean() / (want[name] ** 2).mean()))

    plain = error(())
    assert error(tuple(names[:2])) < 0.01 * plain
    assert error(tuple(names[:2]), "wide") < plain
    with pytest.raises(Unsupported, match="every layer stays in float"):
        roundings(tuple(names))
