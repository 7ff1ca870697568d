"""Whether the integer products of an ONNX file lose sums on x86 without VNNI, on real inputs or by the bound alone."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import onnx

from edgedl.errors import InvalidArtifact
from edgedl.exporter import Calibration
from edgedl.saturation import PairSums, Saturation, bounded, observed
from edgedl.spec import Array
from edgedl_onnx.graph import read
from edgedl_onnx.products import Product, products

RUNS = 8
"""Runs that are looked at."""


def saturation(path: Path, runs: Calibration | None) -> Saturation:
    """The verdict on the first runs where there are any."""
    model = read(path)
    try:
        found = list(products(model))
    except (ValueError, IndexError, TypeError) as error:
        raise InvalidArtifact(f"{path} is a damaged ONNX model: {str(error).splitlines()[0]}") from error
    seen = _seen(model, found, runs) if runs and found else {}
    by_layer: dict[str, list[PairSums]] = {}
    for number, product in enumerate(found):
        sums = seen.get(number) or bounded(product.layer, product.operator, product.weights)
        by_layer.setdefault(product.layer, []).append(sums)
    return Saturation(tuple(map(_joined, by_layer.values())), "ONNX Runtime")


def _joined(parts: list[PairSums]) -> PairSums:
    """One layer of several products: those of the input and the state of an LSTM."""
    outputs = [part.outputs for part in parts if part.outputs is not None]
    return PairSums(
        parts[0].layer, parts[0].operator, sum(p.channels for p in parts), sum(p.at_risk for p in parts),
        sum(outputs) if outputs else None, sum(p.saturated for p in parts), max(p.error for p in parts),
    )  # fmt: skip


def _seen(model: onnx.ModelProto, found: list[Product], runs: Calibration) -> dict[int, PairSums]:
    """By the number of the product, what the runs showed."""
    readers: dict[str, list[int]] = {}
    for number, product in enumerate(found):
        if product.source:
            readers.setdefault(product.source.name, []).append(number)
    matrices: dict[int, list[list[tuple[Array, int]]]] = {}
    for name, values in _values(model, readers, runs):
        for number in readers[name]:
            source = found[number].source
            assert source
            activations, zero = source.quantized(values)
            rows = found[number].rows(activations, zero)
            matrices.setdefault(number, []).append([(matrix, zero) for matrix in rows])
    return {number: _of_all_runs(found[number], every) for number, every in matrices.items()}


def _values(model: onnx.ModelProto, names: Iterable[str], runs: Calibration) -> Iterable[tuple[str, Array]]:
    from edgedl_onnx.observe import Observer  # which loads onnxruntime

    observer = Observer(model, list(names), kinds="fu")
    return ((name, values) for name, values in observer.values(lambda: islice(runs(), RUNS)) if values.size)


def _of_all_runs(product: Product, runs: list[list[tuple[Array, int]]]) -> PairSums:
    """Each group's runs one below the other, those of another zero point apart."""
    parts = [
        (np.concatenate([matrix for matrix, z in group if z == zero]), weights, zero)
        for group, weights in zip(zip(*runs, strict=True), product.weights, strict=True)
        for zero in dict.fromkeys(z for _, z in group)
    ]
    return observed(product.layer, product.operator, product.weights, parts)
