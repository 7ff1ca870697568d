"""Which input or output of a compiled model belongs to which name of the manifest."""

from __future__ import annotations

from typing import Any

from edgedl.errors import EngineFailed, InvalidTensor
from edgedl.spec import DTYPES, TensorSpec

UNNAMED = "dynamic"
"""The name of every dynamic axis of a file without a manifest: OpenVINO keeps no axis names."""


def specs(ports: list[Any], told: tuple[TensorSpec, ...] | None) -> tuple[TensorSpec, ...]:
    """In the order of the ports, with the manifest's names where there is one; EngineFailed where they do not match."""
    found = tuple(map(_spec, ports))
    return found if told is None else _renamed(found, told)


def _spec(port: Any) -> TensorSpec:
    dtype = port.element_type.to_dtype().name
    if dtype not in DTYPES:
        raise InvalidTensor(f"{_name(port)} is a {dtype}: edgedl carries tensors of {', '.join(DTYPES)}")
    shape = tuple(UNNAMED if d.is_dynamic else d.get_length() for d in port.partial_shape)
    return TensorSpec(_name(port), shape, dtype)


def _name(port: Any) -> str:
    return str(port.any_name) if port.names else str(port.node.friendly_name)


def _renamed(found: tuple[TensorSpec, ...], told: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """By name; where the engine has other names than the file's signature, by shape and dtype, if these tell them apart."""
    by_name = {spec.name: spec for spec in told}
    if {spec.name for spec in found} == by_name.keys():
        return tuple(by_name[spec.name] for spec in found)
    alike = [[other for other in told if _alike(spec, other)] for spec in found]
    if len(found) != len(told) or any(len(others) != 1 for others in alike):
        names = [", ".join(spec.name for spec in side) for side in (found, told)]
        raise EngineFailed(f"openvino has the tensors {names[0]}, the manifest {names[1]}: they cannot be told apart")
    return tuple(others[0] for others in alike)


def _alike(spec: TensorSpec, other: TensorSpec) -> bool:
    pairs = zip(spec.shape, other.shape, strict=False)
    return (
        spec.dtype == other.dtype
        and len(spec.shape) == len(other.shape)
        and all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in pairs)
    )
