"""How far a training has come, on disk: whole or not there, read without running code."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from edgedl.errors import InvalidInput
from edgedl.files import write_atomic

EVERY = 5.0
"""Seconds between two checkpoints, at least."""

SHARE = 20
"""A checkpoint is due after so many times the time that the last one took: it costs no more than a twentieth."""


@dataclass(frozen=True)
class Position:
    """done: steps, of `total`. stage, step: where among the stages. losses: of every step so far. seconds: so far.

    state: the tensors and numbers of the module, the optimizer and the schedule.
    """

    done: int
    total: int
    stage: int
    step: int
    losses: list[float]
    seconds: float
    state: dict[str, Any]


@dataclass
class Checkpoint:
    """One file. identity: what training it belongs to, in words. every: seconds; 0 is after each step."""

    path: Path
    identity: str
    every: float = EVERY
    _next: float = field(default=0.0, init=False)

    def load(self) -> Position | None:
        """Where an interrupted run of the same training stood; InvalidInput for a file of another one, or a broken one."""
        self._wait(0.0)
        if not self.path.is_file():
            return None
        try:
            held = torch.load(self.path, map_location="cpu", weights_only=True)
            identity, position = str(held.pop("identity")), Position(**held)
        except Exception as error:
            raise InvalidInput(f"{self.path} is no checkpoint of edgedl or is damaged: --force begins anew") from error
        if identity != self.identity:
            raise InvalidInput(
                f"{self.path} belongs to another training ({identity}; this one is {self.identity}): "
                "--force begins anew, another -o keeps both"
            )
        return position

    def due(self) -> bool:
        return time.monotonic() >= self._next

    def save(self, position: Position) -> None:
        """Write it over the last one. OutputExists where the disk is full; the last one then stays."""
        began, buffer = time.monotonic(), io.BytesIO()
        fields = {key: getattr(position, key) for key in Position.__dataclass_fields__}
        torch.save({"identity": self.identity, **fields}, buffer)
        write_atomic(self.path, buffer.getvalue())
        self._wait(time.monotonic() - began)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _wait(self, took: float) -> None:
        self._next = time.monotonic() + (max(self.every, SHARE * took) if self.every else 0.0)
