"""The files of an ncnn network in one: a zip archive, uncompressed, of `model.param`, `model.bin` and `ports.json`.

An app takes the first two (`unzip net.ncnn -d assets`). The third says what ncnn's files do not: names, shapes and dtypes
of the inputs and outputs, the blob that each is in the network, and which of its axes ncnn carries as the batch.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgedl.errors import InvalidArtifact
from edgedl.spec import TensorSpec

NO_BATCH = 233
"""ncnn's word for a tensor none of whose axes is the batch"""
MEMBERS = ("model.param", "model.bin", "ports.json")


@dataclass(frozen=True)
class Port:
    """An input or output. blob: its name in the network; None for an input that the network does not use."""

    spec: TensorSpec
    blob: str | None
    batch: int


@dataclass(frozen=True)
class Bundle:
    """param: ncnn's text. weights: ncnn's binary. inputs, outputs: in the order of the model."""

    param: str
    weights: bytes
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def to_bytes(self) -> bytes:
        """The archive, which is the same for the same network."""
        ports = {side: [asdict(port) for port in getattr(self, side)] for side in ("inputs", "outputs")}
        content = (self.param.encode(), self.weights, json.dumps(ports, indent=1).encode())
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            for name, data in zip(MEMBERS, content, strict=True):
                archive.writestr(zipfile.ZipInfo(name), data)  # without a date
        return target.getvalue()

    @classmethod
    def read(cls, path: Path) -> Bundle:
        """InvalidArtifact if it is no whole bundle."""
        try:
            with zipfile.ZipFile(path) as archive:
                param, weights, ports = (archive.read(name) for name in MEMBERS)
            told = json.loads(ports)
            return cls(param.decode(), weights, *(tuple(map(_port, told[side])) for side in ("inputs", "outputs")))
        except Exception as error:
            raise InvalidArtifact(f"{path} is not a whole ncnn model ({error}): export it again") from error


def _port(item: dict[str, Any]) -> Port:
    spec = item["spec"]
    return Port(TensorSpec(spec["name"], tuple(spec["shape"]), spec["dtype"]), item["blob"], int(item["batch"]))
