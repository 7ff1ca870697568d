"""Android's own account of the battery, from the text of `dumpsys batterystats` and `dumpsys battery`.

Run `adb shell dumpsys batterystats --reset` before the work, and dump after it, unplugged. The discharge is read from the
phone's fuel gauge and is `measured`; what Android blames on an app comes from its power profile and is `modelled`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgedl.errors import InvalidInput
from edgedl.measure.energy.record import Energy

_NUMBER = r"(\d+(?:\.\d+)?)"
_ESTIMATE = re.compile(
    rf"Capacity: {_NUMBER}, Computed drain: {_NUMBER}(?:, actual drain: {_NUMBER}(?:-{_NUMBER})?)?", re.IGNORECASE
)
_DISCHARGE = re.compile(rf"^\s*Discharge: {_NUMBER} mAh", re.MULTILINE)
_APP = re.compile(rf"^\s*UID (\w+): {_NUMBER}", re.IGNORECASE | re.MULTILINE)
_VOLTAGE = re.compile(r"^\s*voltage: (\d+)\s*$", re.MULTILINE)
_SECTION = "Estimated power use (mAh)"
APP_ERROR = 0.5
"""Relative, of Android's estimates for an app. The range of studies of power profiles: Hoque et al., "Modeling, Profiling,
and Debugging the Energy Consumption of Mobile Devices", ACM Computing Surveys 48 (2015), section 4."""


@dataclass(frozen=True)
class Drain:
    """All in mAh. discharge: (low, high) of what left the battery, None where the phone does not tell. by_uid: estimates."""

    capacity: float
    computed: float
    discharge: tuple[float, float] | None
    by_uid: Mapping[str, float]


def parse_batterystats(text: str) -> Drain:
    """InvalidInput if the text is no dump of batterystats, of Android 7 or later."""
    _, found, section = text.partition(_SECTION)
    estimate = _ESTIMATE.search(section)
    if not found or not estimate:
        raise InvalidInput(f"this is no text of `dumpsys batterystats`: it has no {_SECTION!r} with its drain")
    capacity, computed, low, high = (value and float(value) for value in estimate.groups())
    apps = {uid: float(mah) for uid, mah in _APP.findall(section.partition("\n\n")[0])}
    return Drain(float(capacity or 0), float(computed or 0), _discharge(text, low, high or low), apps)


def _discharge(text: str, low: float | str | None, high: float | str | None) -> tuple[float, float] | None:
    """The fuel gauge's line where there is one, else the range that the battery's percentages give."""
    if gauge := _DISCHARGE.search(text):
        return float(gauge[1]), float(gauge[1])
    return (float(low), float(high)) if low and high else None


def parse_voltage(text: str) -> float:
    """Volts, from `dumpsys battery`; InvalidInput if the text has none."""
    found = _VOLTAGE.search(text)
    if not found or int(found[1]) == 0:
        raise InvalidInput("this is no text of `dumpsys battery`: it has no voltage")
    value = int(found[1])
    return value / 1000 if value > 100 else float(value)


def battery_energy(drain: Drain, volts: float, step: float = 1.0) -> Energy | None:
    """What left the battery; None where the phone does not tell. step: mAh that the gauge counts in."""
    if drain.discharge is None:
        return None
    low, high = drain.discharge
    half = max((high - low) / 2, step)
    return Energy(3.6 * volts * (low + high) / 2, "measured", "Android batterystats, discharge", 3.6 * volts * half)


def app_energy(drain: Drain, uid: str, volts: float) -> Energy:
    """What Android blames on an app, by its `u0a123`; InvalidInput if the dump has no such app."""
    if uid not in drain.by_uid:
        raise InvalidInput(f"the dump has no UID {uid!r}; it has {', '.join(drain.by_uid) or 'none'}")
    joules = 3.6 * volts * drain.by_uid[uid]
    return Energy(joules, "modelled", f"Android batterystats, power profile of UID {uid}", APP_ERROR * joules)
