from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl.verify.matching import Tensor, layouts, matched, plain_name


def tensor(name: str, *shape: int, seed: int = 0) -> Tensor:
    return Tensor(name, np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def names(ours: list[Tensor], theirs: list[Tensor], same_format: bool = False) -> list[tuple[str, str]]:
    return [(ours[i].name, theirs[j].name) for i, j in matched(ours, theirs, same_format)]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("relu_1_DequantizeLinear_Output", "relu_1"),
        ("logits_QuantizeLinear_Input", "logits"),
        ("relu_1", "relu_1"),
        ("net/relu;;1", "net/relu;;1"),
    ],
)
def test_what_quantizers_add_to_a_name(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_in_one_format_equal_names_are_one_tensor_whatever_it_holds() -> None:
    ours = [tensor("relu", 2, 8), tensor("relu_1", 2, 8, seed=1), tensor("norm", 2, 8, seed=2)]
    noise = Tensor("relu_1", -ours[1].value)
    theirs = [noise, Tensor("relu", ours[0].value), Tensor("relu_DequantizeLinear_Output", ours[0].value)]
    assert names(ours, theirs, True) == [("relu", "relu_DequantizeLinear_Output"), ("relu_1", "relu_1")]


def test_across_formats_values_decide_in_any_layout() -> None:
    conv, relu = tensor("conv2d", 2, 3, 4, 5), tensor("relu", 2, 3, 4, 5, seed=1)
    theirs = [Tensor("a", np.moveaxis(conv.value, 1, -1) + 0.01), Tensor("b", np.moveaxis(relu.value, 1, -1))]
    assert names([conv, relu], theirs) == [("conv2d", "a"), ("relu", "b")]
    assert names([Tensor("a", theirs[0].value)], [conv]) == [("a", "conv2d")]


def test_before_and_after_a_relu_are_not_one_tensor() -> None:
    conv = tensor("conv2d", 4, 64)
    relu = Tensor("relu", np.maximum(conv.value, 0))
    assert names([conv, relu], [Tensor("x", relu.value)]) == [("relu", "x")]
    assert names([conv], [Tensor("x", relu.value)]) == []


def test_a_name_holds_where_the_values_do_not() -> None:
    """The output of a model that quantization has destroyed is still its output."""
    logits = tensor("logits", 4, 10)
    assert names([logits], [Tensor("logits", tensor("", 4, 10, seed=5).value)]) == [("logits", "logits")]
    assert names([logits], [tensor("other", 4, 10, seed=5)]) == []


def test_nothing_matches_nothing() -> None:
    assert matched([], [], True) == matched([tensor("a", 3)], [], False) == matched([], [tensor("a", 3)], True) == []


def test_what_is_not_finite_is_no_obstacle() -> None:
    broken = tensor("a", 2, 8)
    broken.value[0, 0] = np.nan
    broken.value[1, 1] = np.inf
    assert names([broken], [broken]) == [("a", "a")]


@given(st.lists(st.integers(0, 40), unique=True, max_size=12), st.integers(0, 3))
def test_a_model_matches_itself_with_layers_left_out(kept: list[int], shape: int) -> None:
    """Order is kept, and no tensor is in two pairs."""
    sizes = [(2, 6), (3, 4), (12,), (1, 3, 2, 2)][shape]
    ours = [tensor(f"t{n}", *sizes, seed=n) for n in range(41)]
    theirs = [Tensor(f"other{n}", ours[n].value) for n in sorted(kept)]
    assert [i for i, _ in matched(ours, theirs, False)] == sorted(kept)


def test_layouts_of_low_rank_are_one() -> None:
    assert len(layouts(np.zeros((2, 3)))) == 1
    assert [layout.shape for layout in layouts(np.zeros((2, 3, 4, 5)))] == [
        (2, 3, 4, 5),
        (2, 4, 5, 3),
        (2, 3, 5, 4),
        (2, 5, 3, 4),
    ]
