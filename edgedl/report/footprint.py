"""What the energy of each subject means on a stated grid and a stated battery, one sentence each."""

from __future__ import annotations

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
    if figure is None or figure.high is None:
        return None
    method = "measured" if figure.how == "measured" else "modelled"
    return Energy(figure.value, method, figure.basis or "not told", figure.high - figure.value)


def _told(energy: Energy, stated: Stated) -> Iterator[str]:
    thousand = energy.per(1 / 1000)
    plus = f"{units.energy(energy.joules)} +- {units.energy(energy.error)}"
    yield f"{plus} per inference, {units.energy(thousand.joules)} per 1,000 ({energy.method}: {energy.source})"
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
