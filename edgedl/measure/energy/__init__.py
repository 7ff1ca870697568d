"""Energy of work on this machine, from a counter that is named, or none and the reason. Loads numpy and nothing else.

with energy.meter() as reading:
    train()
print(reading.energy or reading.reason)
"""

from __future__ import annotations

from edgedl.measure.energy.counter import Counter
from edgedl.measure.energy.footprint import Battery, grams_of_co2, hours_on, parse_battery, parse_duty
from edgedl.measure.energy.meter import Idle, Reading, Tally, find_counter, meter
from edgedl.measure.energy.record import Energy

__all__ = [
    "Battery", "Counter", "Energy", "Idle", "Reading", "Tally", "find_counter", "grams_of_co2", "hours_on", "meter",
    "parse_battery", "parse_duty",
]  # fmt: skip
