"""The fitted models that the package carries: coefficients, what they were fitted on, and how far they were off.

devices.json is written by `benchmarks/predicted_devices.py --write`; nobody edits it.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from edgedl.errors import UnknownName
from edgedl.measure.codec import decode

LISTED = 24
"""More networks than these are counted by family."""
_FAMILY = re.compile(r"[a-z]+(?:-v\d|-lite)?", re.IGNORECASE)


@dataclass(frozen=True)
class Power:
    """watts: of the whole board while it computes. error: relative, the 90 % quantile over networks left out."""

    watts: float
    error: float
    source: str


@dataclass(frozen=True)
class DeviceModel:
    """Seconds of a run = the sum of coefficient x feature (edgedl.workload.Workload.features), none of them negative.

    precision: `fp32` or `int8`. threads: None where the publisher does not tell. source: link to a row of the fit.
    networks: what it was fitted on. macs: the least and the most of them. shares: the largest that each kind of
    layer had (edgedl.workload.Workload.shares). within, unseen: median relative error on a network left out
    whose family stays (None where no two were of one family), and on a family left out.
    interval: of measured / predicted, 95 %, from families left out.
    """

    device: str
    title: str
    engine: str
    precision: str
    threads: int | None
    source: str
    networks: tuple[str, ...]
    coefficients: Mapping[str, float]
    shares: Mapping[str, float]
    macs: tuple[float, ...]
    within: float | None
    unseen: float
    interval: tuple[float, ...]
    power: Power | None = None

    @property
    def settings(self) -> str:
        """`ncnn fp32, 4 threads`."""
        threads = f", {self.threads} thread{'s' * (self.threads > 1)}" if self.threads else ""
        return f"{self.engine} {self.precision}{threads}"

    @property
    def basis(self) -> str:
        """What a prediction rests on, in one line."""
        networks = f"{len(self.networks)} networks ({', '.join(_families(self.networks))})"
        return f"{self.settings} on {self.title}, fitted to {networks}; off by {self.unseen:.0%} on unseen families (median); {self.source}"


def _families(names: tuple[str, ...]) -> list[str]:
    """The names, or `14 mobilenet-v1` where many are of one design."""
    if len(names) <= LISTED:
        return list(names)
    counted = Counter(_FAMILY.match(name)[0] for name in names)  # type: ignore[index]
    return [f"{count} {family}" for family, count in counted.items()]


@dataclass(frozen=True)
class _File:
    models: tuple[DeviceModel, ...]


@functools.cache
def models() -> tuple[DeviceModel, ...]:
    """All of them; the preferred ones of a device first."""
    text = (files("edgedl") / "predict" / "devices.json").read_text()
    return decode(_File, json.loads(text), "devices.json").models


def devices() -> dict[str, str]:
    """Device name -> title."""
    return {model.device: model.title for model in models()}


def models_of(device: str) -> list[DeviceModel]:
    """UnknownName with the nearest device."""
    if device not in devices():
        raise UnknownName("predicted device", device, devices())
    return [model for model in models() if model.device == device]
