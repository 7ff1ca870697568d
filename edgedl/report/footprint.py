"""What the energy of each subject means on a stated grid and a stated battery, one sentence each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from edgedl.measure import BenchmarkRecord, Figure, Measured
from edgedl.measure.energy import Battery, Energy, grams_of_co2, hours_on
from edgedl.report import units
from edgedl.report.table import printable


@dataclass(frozen=True)
class Stated:
    """What the user states. grid: grams of CO2 per kWh. duty: inferences per second."""

    grid: float | None = None
    battery: Battery | None = None
    duty: float | None = None


def footprint_sentences(record: BenchmarkRecord, stated: Stated) -> Iterator[str]:
    """For each subject: its joules, and what is stated about them; or why there are none."""
    for subject in record.subjects:
        energy = energy_of(subject)
        if energy is None:
            reason = record.no_energy or f"none was published for {subject.target}"
            yield printable(f"{subject.source}: no energy is known: {reason}")
        else:
            yield printable(f"{subject.source}: {'; '.join(_told(energy, stated))}")


def energy_of(subject: Measured) -> Energy | None:
    """Of one run, from the subject's figures."""
    figure: Figure | None = next((f for f in subject.figures if f.name == "energy"), None)
    if figure is None or figure.low is None or figure.high is None:
        return None
    method = "measured" if figure.how == "measured" else "modelled"
    half = (figure.high - figure.low) / 2
    return Energy(figure.value, method, figure.basis or "not told", half, bounds=(figure.low, figure.high))


def energy_told(energy: Energy) -> str:
    """`1.2 mJ +- 0.1 mJ`, or `1.2 mJ [0.9 mJ, 1.7 mJ]` where the interval is not symmetrical."""
    up, down = energy.high - energy.joules, energy.joules - energy.low
    if math.isclose(up, down, rel_tol=0.01):
        return f"{units.energy(energy.joules)} +- {units.energy(energy.error)}"
    return f"{units.energy(energy.joules)} [{units.energy(energy.low)}, {units.energy(energy.high)}]"


def _told(energy: Energy, stated: Stated) -> Iterator[str]:
    thousand = energy.per(1 / 1000)
    yield f"{energy_told(energy)} per inference, {units.energy(thousand.joules)} per 1,000 ({energy.method}: {energy.source})"
    if not energy.visible:
        yield "it cannot be told from the idle machine: measure for longer, with --seconds"
        return
    if stated.grid is not None:
        yield f"{grams_of_co2(thousand, stated.grid):.3g} g CO2 per 1,000 at {stated.grid:g} g/kWh"
    if stated.battery and stated.duty:
        hours = hours_on(stated.battery, energy, stated.duty)
        yield f"{stated.battery.text} lasts {_time(hours)} at {stated.duty:g} inferences/s of it; idle power comes on top"


def _time(hours: float) -> str:
    return f"{hours:.3g} h" if hours < 72 else f"{hours / 24:.3g} days"
