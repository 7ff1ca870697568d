"""The meter on a counter made for the test: what is subtracted, and what is said where nothing can be counted."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl.errors import InvalidInput, Unavailable
from edgedl.measure import energy
from edgedl.measure.energy import Energy, Idle, Tally
from edgedl.measure.energy.meter import FINDERS

COUNT = Energy(2.0, "measured", "RAPL package-0", 0.5, 4.0, 3.0)


class Clocked:
    """A machine that takes `watts` all the time, by the real clock."""

    name, delay, period = "clocked", 0.0, 0.005

    def __init__(self, watts: float = 10.0) -> None:
        self.watts, self.start, self.reads = watts, time.perf_counter(), 0

    def joules(self) -> float:
        self.reads += 1
        return self.watts * (time.perf_counter() - self.start)


class Scripted:
    """Tells the given joules one after the other."""

    name, delay, period = "scripted", 0.5, 60.0

    def __init__(self, *joules: float) -> None:
        self.left = list(joules)

    def joules(self) -> float:
        if not self.left:
            raise Unavailable("the counter is gone")
        return self.left.pop(0)


def test_idle_power_is_subtracted() -> None:
    """A machine at 10 W, idle or not, has no energy left for the work."""
    with energy.meter(idle_seconds=0.1, counter=Clocked()) as reading:
        time.sleep(0.05)
    found = reading.energy
    assert found and reading.reason is None
    assert found.joules == pytest.approx(0.0, abs=0.1)
    assert (found.method, found.source) == ("measured", "clocked")
    assert found.idle_watts == pytest.approx(10.0, rel=0.2)


def test_work_above_idle_is_counted_over_all_blocks() -> None:
    tally = Tally(Scripted(100.0, 130.0, 200.0, 250.0), Idle(2.0, 0.0))
    for _ in range(2):
        with tally:
            pass
    found = tally.energy()
    assert found.joules == pytest.approx(80.0 - 2.0 * tally.seconds)
    assert found.error == pytest.approx(0.5 * 80.0 / tally.seconds * 2.0)  # four readings, each half a second old


def test_the_spread_of_the_idle_power_is_the_error() -> None:
    tally = Tally(Scripted(0.0, 10.0), Idle(1.0, 0.25))
    with tally:
        time.sleep(0.01)
    object.__setattr__(tally.counter, "delay", 0.0)
    assert tally.energy().error == pytest.approx(2 * 0.25 * tally.seconds)


def test_a_counter_is_read_all_the_time() -> None:
    counter = Clocked()
    with Tally(counter):
        time.sleep(0.1)
    assert counter.reads > 4


def test_without_a_counter_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Clocked:
        raise Unavailable("RAPL: not here")

    monkeypatch.setitem(FINDERS, "cpu", (none, none))
    with energy.meter() as reading:
        done = True
    assert done and reading.energy is None
    assert reading.reason == "no energy counter for 'cpu' here (RAPL: not here; RAPL: not here)"


def test_a_counter_that_is_lost_gives_no_energy() -> None:
    with energy.meter(idle_seconds=0.01, counter=Scripted(*range(21))) as reading:
        pass
    assert (reading.energy, reading.reason) == (None, "the counter is gone")
    with energy.meter(idle_seconds=0.01, counter=Scripted(1.0)) as reading:
        pass
    assert (reading.energy, reading.reason) == (None, "the counter is gone")


def test_the_error_of_the_work_itself_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="the work"), energy.meter(idle_seconds=0.01, counter=Clocked()):
        raise ValueError("the work")


def test_an_unknown_device_has_no_counter() -> None:
    with pytest.raises(Unavailable, match="no energy counter for 'tpu' here \\(none is known\\)"):
        energy.find_counter("tpu")
    with pytest.raises(InvalidInput, match="idle_seconds=0"), energy.meter(idle_seconds=0):
        pass
    with pytest.raises(InvalidInput, match="needs the idle power"):
        Tally(Clocked()).energy()


def test_energy_without_a_method_or_a_number_is_refused() -> None:
    with pytest.raises(InvalidInput, match="measured or modelled"):
        Energy(1.0, "guessed", "4 W a thread", 0.0)
    with pytest.raises(InvalidInput, match="finite"):
        Energy(float("nan"), "measured", "RAPL", 0.0)
    with pytest.raises(InvalidInput, match="finite"):
        Energy(1.0, "measured", "RAPL", -1.0)


def test_energy_of_one_of_many() -> None:
    assert COUNT.per(4) == Energy(0.5, "measured", "RAPL package-0", 0.125, 1.0, 3.0)
    assert COUNT.per(1 / 1000).joules == pytest.approx(2000.0)
    assert COUNT.visible and not Energy(0.4, "measured", "RAPL", 0.5).visible


def test_footprint() -> None:
    assert energy.grams_of_co2(Energy(3.6e6, "measured", "RAPL", 0.0), 350.0) == pytest.approx(350.0)
    battery = energy.parse_battery("3000mAh@3.7V")
    assert battery.joules == pytest.approx(3000 * 3.6 * 3.7)
    one = Energy(0.1, "modelled", "Pi", 0.01)
    assert energy.hours_on(battery, one, energy.parse_duty("10/s")) == pytest.approx(39960 / 3600)
    assert energy.hours_on(battery, one, 10.0, idle_watts=1.0) == pytest.approx(39960 / 2 / 3600)
    assert energy.parse_duty("6/min") == pytest.approx(0.1)


@pytest.mark.parametrize("text", ["", "3000", "3000mAh", "0mAh@3.7V", "-1mAh@3V", "3000mAh@3.7V ", "1e3mAh@3V"])
def test_a_wrong_battery_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"3000mAh@3\.7V"):
        energy.parse_battery(text)


@pytest.mark.parametrize("text", ["", "10", "10/week", "0/s", "-1/s", "ten/s"])
def test_a_wrong_duty_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="such as 10/s"):
        energy.parse_duty(text)


def test_no_battery_life_from_an_energy_that_was_not_seen() -> None:
    with pytest.raises(InvalidInput, match="cannot be told from the idle machine"):
        energy.hours_on(energy.parse_battery("100mAh@3V"), Energy(-0.1, "measured", "RAPL", 0.5), 1.0)


@given(st.floats(1e-9, 1e6), st.floats(1e-3, 1e6))
def test_a_battery_lasts_as_long_as_its_joules(joules: float, duty: float) -> None:
    battery = energy.parse_battery("3000mAh@3.7V")
    hours = energy.hours_on(battery, Energy(joules, "modelled", "x", 0.0), duty)
    assert hours * 3600 * duty * joules == pytest.approx(battery.joules)
