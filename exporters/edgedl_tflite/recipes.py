"""The schemes as recipes of ai-edge-quantizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.recipe_manager import RecipeManager

from edgedl.exporter import QuantizationOptions
from edgedl_tflite.attention import attends
from edgedl_tflite.layers import island, scope
from edgedl_tflite.loops import PREFIX, products_in_loops
from edgedl_tflite.masking import unbounded

_EVERYTHING = {"regex": ".*", "operation_name": qtyping.TFLOperationName.ALL_SUPPORTED}
_IN_LOOPS = f"{PREFIX}_[0-9]+/(steps|chunks)/"


def recipe_of(scheme: str, options: QuantizationOptions, model: Any, in_float: Iterable[str] = ()) -> RecipeManager:
    """The recipe of a scheme of RECIPES for a float ModelT, with what stays float in it: `in_float`, by what it computes, too."""
    recipe = RecipeManager()
    (_layers_alone if layers_alone(scheme, model) else RECIPES[scheme])(recipe, _granularity(options))
    if scheme in _STATIC:
        _dynamic_in_loops(recipe, model, _granularity(options))
        _in_float(recipe, map(scope, unbounded(model)))
    for place in island(model, options.wide):
        recipe.add_static_config(
            place, qtyping.TFLOperationName.ALL_SUPPORTED, activation_num_bits=16, weight_num_bits=8,
            weight_granularity=_granularity(options),
        )  # fmt: skip
    _in_float(recipe, island(model, options.keep_float))
    _in_float(recipe, map(scope, in_float))
    return recipe


def layers_alone(scheme: str, model: Any) -> bool:
    """Whether the scheme makes integers of the layers with weights and of nothing else."""
    return scheme == "w8a8" and attends(model)


def _in_float(recipe: RecipeManager, places: Iterable[str]) -> None:
    for place in places:
        recipe.add_quantization_config(
            place, qtyping.TFLOperationName.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE
        )


def _granularity(options: QuantizationOptions) -> qtyping.QuantGranularity:
    return qtyping.QuantGranularity.CHANNELWISE if options.per_channel else qtyping.QuantGranularity.TENSORWISE


def _float16(recipe: RecipeManager, _: qtyping.QuantGranularity) -> None:
    half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=half, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
    )
    recipe.add_quantization_config(**_EVERYTHING, op_config=config, algorithm_key=AlgorithmName.FLOAT_CASTING)


def _weights(recipe: RecipeManager, weights: qtyping.QuantGranularity) -> None:
    recipe.add_weight_only_config(**_EVERYTHING, num_bits=8, granularity=weights)


def _dynamic(recipe: RecipeManager, weights: qtyping.QuantGranularity) -> None:
    """Depthwise weights are int8 and computed in float: XNNPACK has no dynamic kernel for them, LiteRT's own is slow."""
    recipe.add_dynamic_config(**_EVERYTHING, num_bits=8, granularity=weights)
    recipe.add_weight_only_config(".*", qtyping.TFLOperationName.DEPTHWISE_CONV_2D, num_bits=8, granularity=weights)


def _four_bits(recipe: RecipeManager, weights: qtyping.QuantGranularity) -> None:
    """Linear layers in 4 bits; embeddings, whose error would be 14 times as large in 4, in 8; the rest stays as it is."""
    operators = qtyping.TFLOperationName
    recipe.add_weight_only_config(".*", operators.FULLY_CONNECTED, num_bits=4, granularity=weights)
    recipe.add_weight_only_config(".*", operators.EMBEDDING_LOOKUP, num_bits=8, granularity=weights)


def _static(recipe: RecipeManager, weights: qtyping.QuantGranularity, bits: int = 8) -> None:
    """Everything in integers but the borders, so that inputs and outputs stay float."""
    recipe.add_static_config(**_EVERYTHING, activation_num_bits=bits, weight_num_bits=8, weight_granularity=weights)
    recipe.add_weight_only_config(".*", qtyping.TFLOperationName.EMBEDDING_LOOKUP, num_bits=8, granularity=weights)
    for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        recipe.add_quantization_config(regex=".*", operation_name=border, algorithm_key=AlgorithmName.NO_QUANTIZE)


def _layers_alone(recipe: RecipeManager, weights: qtyping.QuantGranularity) -> None:
    """The layers with weights in integers, of a transformer. XNNPACK has no integer kernels for its softmax, normalisation and GELU;
    rounding these and the sums costs most of the speed, and digits.
    """
    operators = qtyping.TFLOperationName
    for kind in (operators.FULLY_CONNECTED, operators.CONV_2D, operators.DEPTHWISE_CONV_2D):
        recipe.add_static_config(".*", kind, activation_num_bits=8, weight_num_bits=8, weight_granularity=weights)
    recipe.add_weight_only_config(".*", operators.EMBEDDING_LOOKUP, num_bits=8, granularity=weights)


def _dynamic_in_loops(recipe: RecipeManager, model: Any, weights: qtyping.QuantGranularity) -> None:
    """In loops over time the matrix products alone are in integers, and dynamic: calibration does not see inside, and states
    add up errors.
    """
    operators = qtyping.TFLOperationName
    recipe.add_quantization_config(_IN_LOOPS, operators.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE)
    for name in products_in_loops(model):
        recipe.add_dynamic_config(scope(name), operators.FULLY_CONNECTED, num_bits=8, granularity=weights)


RECIPES: dict[str, Callable[[RecipeManager, qtyping.QuantGranularity], None]] = {
    "fp16": _float16,
    "w8": _weights,
    "w8a8-dynamic": _dynamic,
    "w4": _four_bits,
    "w8a8": _static,
    "w8a16": partial(_static, bits=16),
}
_STATIC = ("w8a8", "w8a16")
