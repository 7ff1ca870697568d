"""What is in a `.ncnn` file: a zip archive of ncnn's two files and of what they do not say of their inputs and outputs."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgedl.errors import InvalidArtifact
from edgedl.spec import TensorSpec


class Port(Protocol):
    """An input or output. blob: its name in the network; None if it is not used. batch: which axis ncnn carries as the batch, 233 for none."""

    @property
    def spec(self) -> TensorSpec: ...
    @property
    def blob(self) -> str | None: ...
    @property
    def batch(self) -> int: ...


class Files(Protocol):
    """param: ncnn's text. weights: ncnn's binary."""

    @property
    def param(self) -> str: ...
    @property
    def weights(self) -> bytes: ...
    @property
    def inputs(self) -> tuple[Port, ...]: ...
    @property
    def outputs(self) -> tuple[Port, ...]: ...


@dataclass(frozen=True)
class ReadPort:
    spec: TensorSpec
    blob: str | None
    batch: int


@dataclass(frozen=True)
class ReadFiles:
    param: str
    weights: bytes
    inputs: tuple[ReadPort, ...]
    outputs: tuple[ReadPort, ...]


def read(path: Path) -> ReadFiles:
    """InvalidArtifact if it is not whole; the archive's checksums tell."""
    try:
        with zipfile.ZipFile(path) as archive:
            param, weights, ports = (archive.read(name) for name in ("model.param", "model.bin", "ports.json"))
        told = json.loads(ports)
        inputs, outputs = (tuple(map(_port, told[side])) for side in ("inputs", "outputs"))
        return ReadFiles(param.decode(), weights, inputs, outputs)
    except Exception as error:
        raise InvalidArtifact(f"{path} is not a whole ncnn model ({error}): export it again") from error


def _port(item: dict[str, Any]) -> ReadPort:
    spec = item["spec"]
    return ReadPort(TensorSpec(spec["name"], tuple(spec["shape"]), spec["dtype"]), item["blob"], int(item["batch"]))
