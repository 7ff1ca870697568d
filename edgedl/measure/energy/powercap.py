"""RAPL through Linux's powercap tree: all processor packages and their memory, in microjoules.

https://docs.kernel.org/power/powercap/powercap.html; the counters run over at `max_energy_range_uj`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from edgedl.errors import Unavailable

ROOT = Path("/sys/class/powercap")
PERIOD = 20.0
"""Seconds. A range of 262 kJ, as most packages have, lasts 4 minutes at 1 kW."""
_PACKAGE = re.compile(r"package-\d+(-die-\d+)?")


@dataclass
class Zone:
    """One counter of the tree. total: joules since the first reading."""

    path: Path
    name: str
    span: int
    last: int = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.last = self.read()

    def read(self) -> int:
        return _number(self.path / "energy_uj")

    def joules(self) -> float:
        now = self.read()
        self.total += (now - self.last) % self.span * 1e-6
        self.last = now
        return self.total


class Powercap:
    """The sum of all packages, with their `dram` zones where these are told apart."""

    period = PERIOD
    delay = 1e-3
    """renewed about every millisecond: Intel 64 and IA-32 Architectures SDM, volume 3B, section 15.10"""

    def __init__(self, zones: list[Zone]) -> None:
        self._zones = zones
        self.name = f"RAPL {' + '.join(zone.name for zone in zones)}"

    def joules(self) -> float:
        return sum(zone.joules() for zone in self._zones)


def find(root: Path = ROOT) -> Powercap:
    """Unavailable, with the reason, where there is no package or one of them cannot be read: a part is no sum.

    Zones `core` and `uncore` lie within the package, `psys` around it, and `intel-rapl-mmio` counts it again.
    """
    packages = [folder for folder in _zones(root, "intel-rapl:*") if _PACKAGE.fullmatch(_name(folder))]
    if not packages:
        raise Unavailable(f"RAPL: no processor package under {root}")
    return Powercap([_zone(folder) for package in packages for folder in (package, *_memory(package))])


def _memory(package: Path) -> list[Path]:
    return [folder for folder in _zones(package, f"{package.name}:*") if _name(folder) == "dram"]


def _zones(root: Path, pattern: str) -> list[Path]:
    """In the order of their numbers."""
    return sorted(root.glob(pattern), key=lambda folder: [int(n) for n in folder.name.split(":")[1:]])


def _zone(folder: Path) -> Zone:
    parent = _name(folder.parent)
    name = f"{parent} {_name(folder)}" if parent else _name(folder)
    return Zone(folder, name, _number(folder / "max_energy_range_uj"))


def _name(folder: Path) -> str:
    try:
        return (folder / "name").read_text().strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except PermissionError as error:
        raise Unavailable(f"RAPL: {path} may be read by root only: sudo chmod a+r {path}") from error
    except (OSError, ValueError) as error:
        raise Unavailable(f"RAPL: {path} cannot be read: {error}") from error
