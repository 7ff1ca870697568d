"""Energy in a benchmark: counted around the rounds of each subject, or none and the reason."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from test_measure_samples import failed, measured
from test_measure_samples import record as timed_record

from edgedl.cli.benchmark import command
from edgedl.errors import InvalidInput, Unavailable
from edgedl.measure import BenchmarkRecord, Figure, Measured, Plan, Round
from edgedl.measure.energy import Energy, parse_battery
from edgedl.measure.energy.stated import parse_power, with_stated_power
from edgedl.measure.environment import environment
from edgedl.measure.joules import Joules, figure_of
from edgedl.report.figures import figure_told
from edgedl.report.footprint import Stated, energy_of, footprint_sentences


class Load:
    """A machine of 5 W, of 25 W while it works."""

    name, delay, period = "made-up sensor", 0.0, 0.01

    def __init__(self) -> None:
        self.watts, self.total, self.then = 5.0, 0.0, time.perf_counter()

    def joules(self) -> float:
        now = time.perf_counter()
        self.total += self.watts * (now - self.then)
        self.then = now
        return self.total


def _runner(label: str, work: Any) -> Any:
    measured = Measured(label, label, "onnx", "ort", "cpu", 1)
    runner = SimpleNamespace(measured=measured, restored=0)
    runner.take = lambda turn: work(runner, turn)
    return runner


@pytest.fixture()
def counter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    load = Load()
    monkeypatch.setattr("edgedl.measure.joules.find_counter", lambda device: load)
    monkeypatch.setattr("edgedl.measure.joules.REST", 0.1)
    yield load


def _working(load: Load, seconds: float) -> Any:
    """Ten runs in a round, that take 20 W more than the idle machine."""

    def work(runner: Any, turn: int | None) -> None:
        if turn is None:
            return
        load.joules()
        load.watts = 25.0
        time.sleep(seconds)
        load.joules()
        load.watts = 5.0
        rounds = (*runner.measured.rounds, Round.of(turn, [10**6] * 10, 0.01, 0))
        runner.measured = Measured(runner.measured.label, "a.onnx", "onnx", "ort", "cpu", 1, rounds=rounds)

    return work


def test_each_subject_gets_the_joules_of_its_own_rounds(counter: Load) -> None:
    joules, long, short = (
        Joules("cpu", here=True),
        _runner("long", _working(counter, 0.1)),
        _runner("short", _working(counter, 0.02)),
    )
    for turn in (None, 0, 1):
        joules.take(long, turn)
        joules.take(short, turn)
    figures = [joules.told(runner).figures[0] for runner in (long, short)]
    assert figures[0].value == pytest.approx(20 * 0.1 / 10, rel=0.3)
    assert figures[1].value < figures[0].value / 2
    assert figures[0].how == "measured" and "made-up sensor, " in (figures[0].basis or "")
    assert joules.reason is None


def test_without_a_counter_the_reason_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(device: str) -> Load:
        raise Unavailable("no energy counter here")

    monkeypatch.setattr("edgedl.measure.joules.find_counter", none)
    joules, runner = Joules("cpu", here=True), _runner("a", lambda runner, turn: None)
    joules.take(runner, 0)
    assert joules.told(runner).figures == () and joules.reason == "no energy counter here"
    assert Joules("cpu", here=False).reason == "energy is counted on this machine only"


def test_a_counter_that_is_lost_costs_no_measurement(counter: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    joules, runner = Joules("cpu", here=True), _runner("a", _working(counter, 0.01))
    joules.take(runner, 0)

    def gone() -> float:
        raise Unavailable("the sensor is gone")

    monkeypatch.setattr(counter, "joules", gone)
    with pytest.raises(Unavailable):  # the work itself reads the counter here; the tally does not mind
        joules.take(runner, 1)
    assert joules.told(runner).figures == () and joules.reason == "the sensor is gone"


def _record(*figures: Figure, no_energy: str | None = None) -> BenchmarkRecord:
    subject = Measured("a", "a.onnx", "onnx", "ort", "cpu", 1, target="predicted:pi", figures=figures)
    return BenchmarkRecord((subject,), Plan(), environment(), no_energy=no_energy)


ENERGY = Energy(0.0123, "modelled", "6.75 W x latency, at the wall", 0.002)


def test_a_figure_is_energy_again() -> None:
    figure = figure_of(ENERGY)
    record = BenchmarkRecord.from_json(_record(figure).to_json(), "record.json")
    again = energy_of(record.subjects[0])
    assert again and (again.joules, again.method, again.source) == (0.0123, "modelled", ENERGY.source)
    assert again.error == pytest.approx(0.002)
    assert figure_told(figure) == "12.3 mJ [10.3 mJ, 14.3 mJ]"
    assert figure_told(figure_of(Energy(-1e-6, "measured", "RAPL", 2e-6))) == "-1.00 µJ [-3.00 µJ, 1.00 µJ]"


def test_what_it_means_is_told() -> None:
    stated = Stated(350.0, parse_battery("3000mAh@3.7V"), 10.0)
    (sentence,) = footprint_sentences(_record(figure_of(ENERGY)), stated)
    assert sentence == (
        "a.onnx: 12.3 mJ +- 2.00 mJ per inference, 12.3 J per 1,000 (modelled: 6.75 W x latency, at the wall); "
        "0.0012 g CO2 per 1,000 at 350 g/kWh; 3000mAh@3.7V lasts 3.76 days at 10 inferences/s of it; idle power comes on top"
    )


def test_no_energy_has_a_reason() -> None:
    (sentence,) = footprint_sentences(_record(Figure("latency", 1.0, "ns", "predicted")), Stated(350.0))
    assert sentence == "a.onnx: no energy is known: none was published for predicted:pi"
    record = _record(Figure("instructions", 1.0, "", "counted"), no_energy="no counter")
    (sentence,) = footprint_sentences(record, Stated(350.0))
    assert sentence == "a.onnx: no energy is known: no counter"


def test_energy_below_its_error_means_nothing() -> None:
    (sentence,) = footprint_sentences(_record(figure_of(Energy(1e-6, "measured", "RAPL", 2e-6))), Stated(350.0))
    assert "cannot be told from the idle machine" in sentence and "CO2" not in sentence


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--battery", "3000mAh@3.7V"), "--battery and --duty go together"),
        (("--watts", "3.2"), "watts '3.2': expected the power above idle and its error"),
        (("--watts", "1+-2"), "watts '1\\+-2': expected the power above idle and its error"),
        (("--battery", "full", "--duty", "10/s"), "battery 'full': expected capacity and voltage"),
        (("--battery", "3000mAh@3.7V", "--duty", "often"), "duty 'often': expected inferences per s"),
    ],
)
def test_what_is_stated_wrongly_is_refused_before_anything_is_measured(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        CliRunner().invoke(command, [str(tmp_path / "absent.onnx"), *arguments], catch_exceptions=False)


def test_a_stated_power_models_the_energy_of_what_has_no_counter() -> None:
    counted = figure_of(Energy(2e-6, "measured", "RAPL", 1e-7))
    plain = timed_record(measured("a.onnx", 50), measured("b.onnx", 50, figures=(counted,)), failed("c.onnx"))
    first, second, third = with_stated_power(plain, parse_power("3.2+-0.4W")).subjects
    (energy,) = first.figures
    latency = plain.summaries[0].median_ns.value * 1e-9
    assert energy.value == pytest.approx(3.2 * latency)
    assert (energy.value - energy.low) / energy.value == pytest.approx(0.125, abs=0.02)
    assert (energy.how, energy.basis.startswith("a stated power of 3.2 +- 0.4 W")) == ("estimated", True)
    assert (second.figures, third.figures) == ((counted,), ())


@given(st.text())
def test_a_power_is_read_or_refused(text: str) -> None:
    try:
        power = parse_power(text)
    except InvalidInput:
        return
    assert 0 <= power.error < power.watts
