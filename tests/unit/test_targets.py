"""The framework of targets: names, refusals, the listing, and one record whatever the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from edgedl import registry
from edgedl.artifact import Artifact
from edgedl.errors import GateFailed, InvalidInput, Unavailable, UnknownName, Unsupported
from edgedl.measure import BenchmarkRecord, FeedsOf, Figure, HostParity, Measured, Plan, Subject, describe, warnings
from edgedl.measure.environment import environment
from edgedl.measure.summary import error_told, same
from edgedl.report.figures import figure_sentences, figure_told, figures_table, parity_told
from edgedl.targets import Status, Target, TargetKind, find, hold, host_parity, kind_of, listed
from edgedl.targets.conformance import Broken, check, check_kind, check_record
from edgedl.targets.parity import compare


class Guess(Target):
    """Figures without runs."""

    def measure(
        self, subjects: Sequence[Subject], feeds_of: FeedsOf, plan: Plan, progress: Callable[[int, int], None]
    ) -> BenchmarkRecord:
        figures = (Figure("latency", 1.5e6, "ns", "predicted", 1e6, 2e6),)
        found = tuple(replace(describe(s), target=self.name, figures=figures) for s in subjects)
        return BenchmarkRecord(found, plan, environment())


class GuessKind(TargetKind):
    name = "guess"
    summary = "a target that guesses"
    example = "guess:phone"

    def open(self, detail: str) -> Target:
        if detail != "phone":
            raise UnknownName("device", detail, ["phone"])
        return Guess(f"guess:{detail}")

    def status(self) -> Status:
        return Status("set-up", "edgedl target setup guess")


kind = GuessKind()
NOT_A_KIND = object()
MODELS = Path(str(files("edgedl") / "models"))


@pytest.fixture
def sum_onnx() -> Artifact:
    return Artifact(MODELS / "sum.onnx")


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Adds one entry point to the built-in ones."""

    def add(name: str, value: str) -> None:
        known = {**registry.targets(), name: EntryPoint(name, value, "edgedl.targets")}
        monkeypatch.setattr(registry, "targets", lambda: known)

    return add


def test_local_keeps_every_promise() -> None:
    check("local", "local")


def test_local_keeps_them_for_onnx() -> None:
    check("local", "local", "onnx")


def test_a_third_party_target_keeps_every_promise(registered: Callable[[str, str], None]) -> None:
    registered("guess", f"{__name__}:kind")
    check("guess", "guess:phone")


def test_an_unknown_target_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown target 'loca': expected one of .*local.*did you mean 'local'"):
        find("loca")


def test_a_detail_that_means_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="unknown limit 'fast'"):
        find("local:fast")


def test_the_detail_is_what_stands_behind_the_first_colon() -> None:
    found, detail = kind_of("local://user@host:22")
    assert (found.name, detail) == ("local", "//user@host:22")


def test_figures_alone_give_no_session(sum_onnx: Artifact) -> None:
    with pytest.raises(Unsupported, match="gives figures and no outputs"):
        Guess("guess:phone").session(sum_onnx)


def test_the_listing_tells_what_to_do(registered: Callable[[str, str], None]) -> None:
    registered("guess", f"{__name__}:kind")
    found = {item.name: item for item in listed()}
    assert found["local"].status.state == "ready"
    assert found["guess"].status == Status("set-up", "edgedl target setup guess")


@pytest.mark.parametrize("value", ["no_such_module:kind", f"{__name__}:NOT_A_KIND"])
def test_a_broken_plugin_hides_no_other(registered: Callable[[str, str], None], value: str) -> None:
    registered("broken", value)
    found = {item.name: item.status.state for item in listed()}
    assert found["broken"] == "impossible"
    assert found["local"] == "ready"


def test_a_plugin_that_cannot_be_imported_is_unavailable(registered: Callable[[str, str], None]) -> None:
    registered("broken", "no_such_module:kind")
    with pytest.raises(Unavailable, match="could not be imported"):
        find("broken")


def test_conformance_finds_a_wrong_name() -> None:
    with pytest.raises(Broken, match="registered as 'other'"):
        check_kind(kind, "other")


def test_conformance_finds_a_wrong_target_in_the_record(sum_onnx: Artifact) -> None:
    record = Guess("guess:tablet").measure(
        [Subject("sum", sum_onnx)], lambda *_: None, Plan(), lambda *_: None  # type: ignore[arg-type,return-value]
    )  # fmt: skip
    with pytest.raises(Broken, match="the record says target 'guess:tablet'"):
        check_record(Guess("guess:phone"), record)


def test_figures_survive_the_file_and_need_no_rounds(sum_onnx: Artifact) -> None:
    record = Guess("guess:phone").measure(
        [Subject("sum", sum_onnx)], lambda *_: None, Plan(), lambda *_: None  # type: ignore[arg-type,return-value]
    )  # fmt: skip
    read = BenchmarkRecord.from_json(record.to_json(), "record")
    assert read.subjects == record.subjects
    assert read.summaries == (None,)
    assert read.finished == read.subjects


def test_the_table_of_figures_tells_how_each_was_found(sum_onnx: Artifact) -> None:
    record = Guess("guess:phone").measure(
        [Subject("sum", sum_onnx)], lambda *_: None, Plan(), lambda *_: None  # type: ignore[arg-type,return-value]
    )  # fmt: skip
    title, _, line = figures_table(record).splitlines()
    assert title.split()[-2:] == ["latency", "how"]
    assert line.endswith("1.50 ms [1.00 ms, 2.00 ms]  predicted")


@pytest.mark.parametrize(
    ("figure", "told"),
    [
        (Figure("instructions", 2104311.0, "", "counted"), "2,104,311"),
        (Figure("memory", 8.7e6, "B", "measured"), "8.70 MB"),
        (Figure("energy", 0.000213, "J", "estimated"), "213 µJ"),
    ],
)
def test_a_figure_is_told_in_its_unit(figure: Figure, told: str) -> None:
    assert figure_told(figure) == told


def test_parity_of_the_same_outputs_is_exact(sum_onnx: Artifact) -> None:
    inputs = {"a": np.array([1], np.float32), "b": np.array([2], np.float32)}
    found = host_parity(sum_onnx, inputs, {"sum": np.array([3], np.float32)})
    assert found.exact
    assert found.max_abs == 0
    assert found.host_engine.startswith("onnxruntime ")


def test_parity_tells_the_worst_output() -> None:
    a, b = np.array([1.0, 2.0], np.float32), np.array([1.0, 2.5], np.float32)
    found = compare({"a": a, "b": b}, {"a": a, "b": a}, "engine 1")
    assert (found.max_abs, found.exact) == (0.5, False)


def test_hold_passes_what_computes_the_same(sum_onnx: Artifact) -> None:
    assert hold(find("local"), sum_onnx).exact


def test_hold_refuses_what_computes_something_else(sum_onnx: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgedl.targets.parity.host_parity", lambda *_: apart(None))
    with pytest.raises(GateFailed, match="on local computes something else than here"):
        hold(find("local"), sum_onnx)


def test_fewer_instructions_are_told_against_the_first_of_the_format(sum_onnx: Artifact) -> None:
    def counted(label: str, count: float) -> Measured:
        figures = (Figure("instructions", count, "", "counted"),)
        return replace(describe(Subject(label, sum_onnx)), target="t", figures=figures, notes=("a note",))

    record = BenchmarkRecord((counted("a", 300.0), counted("b", 100.0), counted("c", 450.0)), Plan(), environment())
    assert figure_sentences(record) == (
        "b executes 3.00x fewer instructions than a",
        "c executes 1.50x more instructions than a",
        "a note",
    )


def test_a_target_that_computes_something_else_is_a_warning(sum_onnx: Artifact) -> None:
    figures = (Figure("instructions", 1.0, "", "counted"),)
    odd = replace(describe(Subject("sum", sum_onnx)), target="t", figures=figures, parity=apart(None))
    (sentence,) = warnings(BenchmarkRecord((odd,), Plan(), environment()))
    assert sentence == "sum on t computes something else than here: relative RMS error 0.03"


def apart(steps: float | None, relative_rms: float = 0.03) -> HostParity:
    return HostParity(1.0, relative_rms, False, "engine 1", steps)


@pytest.mark.parametrize(
    ("parity", "engine", "expected"),
    [
        (apart(None, 0.009), "engine 1", True), (apart(None), "engine 2", False), (apart(2), "engine 2", True),
        (apart(2), "engine 1", False), (apart(3), "engine 2", False), (apart(float("nan"), float("nan")), "engine 2", False),
    ],
)  # fmt: skip
def test_another_engine_version_may_round_two_steps_apart(parity: HostParity, engine: str, expected: bool) -> None:
    assert same(parity, engine) is expected


def test_the_difference_is_told_in_steps() -> None:
    assert error_told(apart(1)) == "relative RMS error 0.03, 1 step of the outputs' rounding"
    assert "3 steps of the outputs' rounding (up to 2 are usual between versions" in parity_told(apart(3))
    assert "steps" not in parity_told(apart(None))


def test_steps_are_counted_where_every_output_is_rounded() -> None:
    a, b = np.array([1.0, 2.0], np.float32), np.array([1.0, 2.5], np.float32)
    assert compare({"a": b}, {"a": a}, "engine 1", {"a": 0.25}).steps == 2
    assert compare({"a": b, "f": a}, {"a": a, "f": a}, "engine 1", {"a": 0.25}).steps is None
    assert compare({"a": b * np.float32("nan")}, {"a": a}, "engine 1", {"a": 0.25}).steps != 0


def test_parity_of_a_missing_output_is_none() -> None:
    a = np.zeros(2, np.float32)
    assert not compare({}, {"a": a}, "engine 1").exact
    assert compare({"a": a[:1]}, {"a": a}, "engine 1").max_abs > 1e30
