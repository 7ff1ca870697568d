"""What energy means: grams of CO2 on a stated grid, hours on a stated battery at a stated duty."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgedl.errors import InvalidInput
from edgedl.measure.energy.record import Energy

_JOULES_PER_KWH = 3.6e6
_BATTERY = re.compile(r"(\d+(?:\.\d+)?)mAh@(\d+(?:\.\d+)?)V", re.IGNORECASE)
_DUTY = re.compile(r"(\d+(?:\.\d+)?)/(s|min|h|day)")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "day": 86400}


@dataclass(frozen=True)
class Battery:
    """capacity in joules; text as it was given."""

    joules: float
    text: str


def parse_battery(text: str) -> Battery:
    """`3000mAh@3.7V`."""
    match = _BATTERY.fullmatch(text)
    joules = 3.6 * float(match[1]) * float(match[2]) if match else 0.0
    if joules <= 0:
        raise InvalidInput(f"battery {text!r}: expected capacity and voltage, such as 3000mAh@3.7V")
    return Battery(joules, text)


def parse_duty(text: str) -> float:
    """Inferences per second of `10/s`, `6/min`, `1/h` or `5/day`."""
    match = _DUTY.fullmatch(text)
    rate = float(match[1]) / _SECONDS[match[2]] if match else 0.0
    if rate <= 0:
        raise InvalidInput(f"duty {text!r}: expected inferences per s, min, h or day, such as 10/s")
    return rate


def grams_of_co2(energy: Energy, grid: float) -> float:
    """grid: grams of CO2 per kWh, as the electricity's supplier states it."""
    return energy.joules / _JOULES_PER_KWH * grid


def hours_on(battery: Battery, energy: Energy, duty: float, idle_watts: float = 0.0) -> float:
    """How long a full battery lasts at `duty` inferences per second of `energy` each, beside `idle_watts`.

    InvalidInput where the energy is not above 0. The whole capacity is counted: no cell gives it at every load and age.
    """
    watts = idle_watts + energy.joules * duty
    if energy.joules <= 0:
        raise InvalidInput(f"the energy of an inference ({energy.joules:g} J) cannot be told from the idle machine")
    return battery.joules / watts / 3600
