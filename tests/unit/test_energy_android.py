"""Android's batterystats texts: Android 7 and 8 as Mozilla's raptor recorded them, Android 13 in AOSP's form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl.errors import InvalidInput
from edgedl.measure.energy import android

ANDROID_7 = """
  Estimated power use (mAh):
    Capacity: 2100, Computed drain: 625, actual drain: 1197-1218
    Unaccounted: 572 ( )
    Uid u0a78: 329 ( cpu=329 )
    Screen: 190
    Cell standby: 87.6 ( radio=87.6 )
    Idle: 4.10
    Uid 1000: 1.82 ( cpu=0.537 sensor=1.28 )
    Wifi: 0.800 ( cpu=0.310 wifi=0.490 )
"""
ANDROID_8 = """
  Estimated power use (mAh):
    Capacity: 2700, Computed drain: 145, actual drain: 135-162
    Screen: 68.2 Excluded from smearing
    Uid u0a208: 61.7 ( cpu=60.5 wifi=1.28 ) Including smearing: 141 ( screen=67.7 proportional=9. )
    Idle: 1.63 Excluded from smearing
"""
ANDROID_13 = """
Statistics since last charge:
  Estimated battery capacity: 4680 mAh
  Time on battery: 10m 0s 0ms (100.0%) realtime, 10m 0s 0ms (100.0%) uptime
  Discharge: 61.2 mAh
  Screen off discharge: 0 mAh
  Estimated power use (mAh):
    Capacity: 4680, Computed drain: 58.3, actual drain: 46.8-93.6
    Global
      screen: 10.4 apps: 10.4 duration: 9m 59s 800ms
      cpu: 41.2 apps: 40.1
    UID u0a358: 39.0 fg: 32.2 (9m 26s 480ms) bg: 1.86 (1s 898ms)
        screen=10.4 cpu=28.6 cpu:fg=27.1
    UID 1000: 3.15 bg: 3.15

  All kernel wake locks:
    UID u0a999: 77
"""
BATTERY = "Current Battery Service state:\n  AC powered: false\n  level: 93\n  scale: 100\n  voltage: 4120\n"


def test_android_7_tells_a_range() -> None:
    drain = android.parse_batterystats(ANDROID_7)
    assert drain == android.Drain(2100.0, 625.0, (1197.0, 1218.0), {"u0a78": 329.0, "1000": 1.82})
    energy = android.battery_energy(drain, 3.8)
    assert energy and energy.method == "measured"
    assert (energy.joules, energy.error) == (pytest.approx(3.6 * 3.8 * 1207.5), pytest.approx(3.6 * 3.8 * 10.5))


def test_android_8_tells_a_range() -> None:
    assert android.parse_batterystats(ANDROID_8).discharge == (135.0, 162.0)


def test_android_13_has_a_fuel_gauge() -> None:
    drain = android.parse_batterystats(ANDROID_13)
    assert drain.discharge == (61.2, 61.2)
    assert drain.by_uid == {"u0a358": 39.0, "1000": 3.15}
    energy = android.battery_energy(drain, android.parse_voltage(BATTERY))
    assert energy and energy.joules == pytest.approx(3.6 * 4.12 * 61.2)
    assert energy.error == pytest.approx(3.6 * 4.12)


def test_what_android_blames_on_an_app_is_modelled() -> None:
    drain = android.parse_batterystats(ANDROID_13)
    energy = android.app_energy(drain, "u0a358", 4.12)
    assert energy.method == "modelled" and "power profile" in energy.source
    assert energy.error == pytest.approx(0.5 * energy.joules)
    with pytest.raises(InvalidInput, match="no UID 'u0a1'; it has u0a358, 1000"):
        android.app_energy(drain, "u0a1", 4.12)


def test_a_phone_that_does_not_tell_its_drain_has_no_energy() -> None:
    text = "Estimated power use (mAh):\n  Capacity: 3000, Computed drain: 12.1\n"
    assert android.battery_energy(android.parse_batterystats(text), 3.7) is None


@pytest.mark.parametrize("text", ["", "adb: no devices", "Estimated power use (mAh):\n  Capacity: ?"])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="dumpsys batterystats"):
        android.parse_batterystats(text)


@pytest.mark.parametrize("text", ["", "voltage: 0\n", "  Max charging voltage: 5000000\n"])
def test_a_battery_without_voltage_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="no voltage"):
        android.parse_voltage(text)


def test_some_phones_tell_whole_volts() -> None:
    assert android.parse_voltage("  voltage: 4\n") == 4.0


@given(st.integers(0, len(ANDROID_13)), st.text(max_size=8))
def test_a_damaged_text_is_read_or_refused(place: int, what: str) -> None:
    try:
        drain = android.parse_batterystats(ANDROID_13[:place] + what + ANDROID_13[place + len(what) :])
    except InvalidInput as refusal:
        assert "batterystats" in str(refusal)
    else:
        assert min(drain.capacity, drain.computed, *drain.by_uid.values()) >= 0
