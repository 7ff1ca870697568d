"""What is in a `.ncnn` file: a zip archive of ncnn's two files and of what they do not say of their inputs and outputs.

edgedl_pnnx.bundle writes it, and its Bundle serves as Files does. It is no import of this: a device has no exporter.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedl.errors import InvalidArtifact
from edgedl.spec import TensorSpec


@dataclass(frozen=True)
class Port:
    """An input or output. blob: its name in the network; None if it is not used. batch: which axis ncnn carries as the batch, 233 for none."""

    spec: TensorSpec
    blob: str | None
    batch: int


@dataclass(frozen=True)
class Files:
    """param: ncnn's text. weights: ncnn's binary. inputs, outputs: in the order of the model."""

    param: str
    weights: bytes
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def read(path: Path) -> Files:
    """InvalidArtifact if it is not whole; the archive's checksums tell."""
    try:
        with zipfile.ZipFile(path) as archive:
            param, weights, ports = (archive.read(name) for name in ("model.param", "model.bin", "ports.json"))
        told = json.loads(ports)
        inputs, outputs = (tuple(map(_port, told[side])) for side in ("inputs", "outputs"))
        return Files(param.decode(), weights, inputs, outputs)
    except Exception as error:
        raise InvalidArtifact(f"{path} is not a whole ncnn model ({error}): export it again") from error


def _port(item: dict[str, Any]) -> Port:
    spec = item["spec"]
    return Port(TensorSpec(spec["name"], tuple(spec["shape"]), spec["dtype"]), item["blob"], int(item["batch"]))
