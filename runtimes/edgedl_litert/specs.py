"""Which tensor of the interpreter belongs to which name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgedl.artifact import Manifest
from edgedl.errors import EngineFailed
from edgedl.spec import DTYPES, Quantization, TensorSpec

UNNAMED = "dynamic"
"""The name of every dynamic axis of a file without a manifest: TFLite keeps no axis names."""


@dataclass(frozen=True)
class Binding:
    """An input or output, and the index of its tensor."""

    spec: TensorSpec
    index: int


def bindings(interpreter: Any, manifest: Manifest | None) -> tuple[list[Binding], list[Binding]]:
    """(inputs, outputs) in the file's order, named by its signature; EngineFailed if the manifest says otherwise."""
    signatures = interpreter._get_full_signature_list()
    signature: dict[str, dict[str, int]] = next(iter(signatures.values())) if len(signatures) == 1 else {}
    told = (manifest.inputs, manifest.outputs) if manifest else (None, None)
    return (
        _side(interpreter.get_input_details(), signature.get("inputs", {}), told[0]),
        _side(interpreter.get_output_details(), signature.get("outputs", {}), told[1]),
    )


def _side(details: list[dict[str, Any]], signature: dict[str, int], told: Sequence[TensorSpec] | None) -> list[Binding]:
    names = {index: name for name, index in signature.items()}
    found = [Binding(_spec(d, names.get(d["index"], d["name"])), int(d["index"])) for d in details]
    return found if told is None else [_renamed(binding, told) for binding in found]


def _spec(detail: dict[str, Any], name: str) -> TensorSpec:
    dtype = np.dtype(detail["dtype"]).name
    if dtype not in DTYPES:
        raise EngineFailed(f"tensor {name!r} is a {dtype}: edgedl carries tensors of {', '.join(DTYPES)}")
    signature = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return TensorSpec(name, tuple(UNNAMED if n < 0 else int(n) for n in signature), dtype, _quantization(detail))


def _quantization(detail: dict[str, Any]) -> Quantization | None:
    scale, zero_point = detail["quantization"]
    return Quantization(float(scale), int(zero_point)) if scale else None


def _renamed(binding: Binding, told: Sequence[TensorSpec]) -> Binding:
    """The binding with the manifest's axis names."""
    spec = binding.spec
    same = next((other for other in told if other.name == spec.name), None)
    if same is None or len(same.shape) != len(spec.shape) or same.dtype != spec.dtype:
        known = ", ".join(map(str, told))
        raise EngineFailed(f"the file has {spec}, which its manifest does not ({known}): export it again")
    shape = tuple(named if fixed == UNNAMED else fixed for fixed, named in zip(spec.shape, same.shape, strict=True))
    return Binding(TensorSpec(spec.name, shape, spec.dtype, spec.quantization), binding.index)
