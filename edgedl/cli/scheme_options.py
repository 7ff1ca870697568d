"""The options of `edgedl quantize` that say how a scheme is carried out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from edgedl.exporter import CALIBRATORS, IO_TYPES, QuantizationOptions

Function = Callable[..., Any]

_LAYERS = "as `edgedl inspect FILE --layers` names it; repeatable"


def carried_out(function: Function) -> Function:
    """--calibrator and its like, given to the function as one QuantizationOptions `options`."""

    @click.option(
        "--calibrator", default="minmax", show_default=True, metavar="NAME",
        help=f"How the ranges of activations are found: {', '.join(CALIBRATORS)}.",
    )  # fmt: skip
    @click.option("--per-tensor", is_flag=True, help="One scale for all weights of a layer, not one per channel.")
    @click.option("--bias-correction", is_flag=True, help="Let biases take up the mean error of rounded weights.")
    @click.option("--equalize", is_flag=True, help="Balance scales between consecutive layers (depthwise networks).")
    @click.option("--smooth", type=float, metavar="ALPHA", help="SmoothQuant for transformers, as 0.5.")
    @click.option(
        "--keep-float",
        multiple=True,
        metavar="LAYER",
        help=f"A layer, or type of operators, that stays float, {_LAYERS}.",
    )
    @click.option(
        "--wide", multiple=True, metavar="LAYER", help=f"A layer with 16-bit activations, {_LAYERS}; auto: with --auto."
    )
    @click.option(
        "--narrow",
        multiple=True,
        metavar="LAYER",
        help=f"A layer with 7-bit weights, {_LAYERS}; auto: those that saturate.",
    )
    @click.option(
        "--io", default="float32", show_default=True, metavar="DTYPE",
        help=f"How inputs and outputs are stored (TFLite, w8a8): {', '.join(IO_TYPES)}.",
    )  # fmt: skip
    @functools.wraps(function)
    def wrapped(
        calibrator: str, per_tensor: bool, bias_correction: bool, equalize: bool, smooth: float | None,
        keep_float: tuple[str, ...], wide: tuple[str, ...], narrow: tuple[str, ...], io: str, **rest: Any,
    ) -> Any:  # fmt: skip
        options = QuantizationOptions(
            calibrator, bias_correction, equalize, smooth, keep_float, wide, narrow, not per_tensor, io
        )
        return function(options=options, **rest)

    return wrapped
