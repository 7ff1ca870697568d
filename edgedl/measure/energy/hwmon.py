"""Power and energy sensors of boards through Linux's hwmon tree (INA219, INA226, INA3221 and their kin).

https://docs.kernel.org/hwmon/sysfs-interface.html: power in microwatts, voltage in millivolts, current in milliamperes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgedl.errors import Unavailable

ROOT = Path("/sys/class/hwmon")
VARIABLE = "EDGEDL_POWER_RAILS"
"""environment variable: labels of the rails to be added up, separated by commas"""
TOTALS = ("VDD_IN", "POM_5V_IN", "VIN")
"""labels of the rail that feeds the whole board (NVIDIA Jetson Linux developer guide, "Power Monitor")"""
PERIOD = 0.02
_CHIPS = ("ina", "power_meter", "ltc29")


@dataclass(frozen=True)
class Rail:
    """label: as the board names it, else chip and channel. watts: reads it."""

    label: str
    watts: Callable[[], float]


class PowerRails:
    """Joules of rails that tell watts only: the trapezoid rule over the readings."""

    period = PERIOD
    delay = PERIOD

    def __init__(self, rails: list[Rail], clock: Callable[[], float] = time.perf_counter) -> None:
        self._rails, self._clock, self._total = rails, clock, 0.0
        self.name = f"hwmon {' + '.join(rail.label for rail in rails)}"
        self._then, self._watts = clock(), self._read()

    def joules(self) -> float:
        now, watts = self._clock(), self._read()
        self._total += (now - self._then) * (watts + self._watts) / 2
        self._then, self._watts = now, watts
        return self._total

    def _read(self) -> float:
        return sum(rail.watts() for rail in self._rails)


def find(root: Path = ROOT) -> PowerRails:
    """The rail that feeds the board, the only one, or those named in EDGEDL_POWER_RAILS; Unavailable with the reason."""
    rails = {rail.label: rail for chip in sorted(root.glob("hwmon*")) for rail in _rails(chip)}
    if not rails:
        raise Unavailable(f"hwmon: no power sensor under {root}")
    return PowerRails([rails[label] for label in _chosen(list(rails))])


def _chosen(labels: list[str]) -> list[str]:
    wanted = [label.strip() for label in os.environ.get(VARIABLE, "").split(",") if label.strip()]
    if unknown := [label for label in wanted if label not in labels]:
        raise Unavailable(f"hwmon: {VARIABLE} names {unknown[0]!r}; the rails are {', '.join(labels)}")
    totals = [label for label in TOTALS if label in labels]
    chosen = wanted or totals[:1] or labels
    if not wanted and len(chosen) > 1:
        raise Unavailable(f"hwmon: name the rails to add up in {VARIABLE}, none feeds all: {', '.join(labels)}")
    return chosen


def _rails(chip: Path) -> list[Rail]:
    name = _text(chip / "name")
    if not name.startswith(_CHIPS):
        return []
    powers = [_power_rail(chip, name, path) for path in sorted(chip.glob("power*_input"))]
    return powers or [_product_rail(chip, name, path) for path in sorted(chip.glob("curr*_input"))]


def _power_rail(chip: Path, name: str, path: Path) -> Rail:
    return Rail(_label(chip, name, path, "power"), lambda: _number(path) * 1e-6)


def _product_rail(chip: Path, name: str, current: Path) -> Rail:
    """A chip that tells voltage and current of each channel."""
    voltage = chip / current.name.replace("curr", "in")
    return Rail(_label(chip, name, voltage, "in"), lambda: _number(voltage) * _number(current) * 1e-6)


def _label(chip: Path, name: str, path: Path, kind: str) -> str:
    channel = path.name.removeprefix(kind).removesuffix("_input")
    return _text(chip / f"{kind}{channel}_label") or f"{name}-{chip.name}-{channel}"


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError) as error:
        raise Unavailable(f"hwmon: {path} cannot be read: {error}") from error
