"""A fleet: its file, who is measured at once, retries, quarantine, what an interruption keeps, and the command."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Run
from edgedl import registry
from edgedl.artifact import Artifact
from edgedl.errors import EngineFailed, Interrupted, InvalidInput, Unavailable, UnknownName, Unreachable
from edgedl.measure import BenchmarkRecord, Failure, FeedsOf, Figure, InputChoice, Measured, Plan, Subject, describe
from edgedl.measure.environment import environment
from edgedl.measure.journal import Journal, kept_in
from edgedl.report import render
from edgedl.report.build import build
from edgedl.report.method import environment_facts, machines
from edgedl.report.table import benchmark_table
from edgedl.targets import Target, TargetKind, find
from edgedl.targets.fleet import Device, Fleet, Quarantine, measuring, read

SUM = Artifact(Path(str(files("edgedl") / "models" / "sum.onnx")))
SUBJECTS = [Subject("sum.onnx in ONNX Runtime", SUM)]
CHOICE = InputChoice(SUBJECTS)


@dataclass
class Rack:
    """Stands for the devices: what each does, who was asked, and how many worked at once.

    plans: detail -> the errors of its first calls. pause: seconds that a measurement takes.
    """

    plans: dict[str, list[Exception]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    busy: dict[str, int] = field(default_factory=dict)
    most: int = 0
    clashes: int = 0
    pause: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def measure(self, detail: str, machine: str) -> None:
        with self.lock:
            self.asked.append(detail)
            self.clashes += self.busy.get(machine, 0)
            self.busy[machine] = self.busy.get(machine, 0) + 1
            self.most = max(self.most, sum(self.busy.values()))
        time.sleep(self.pause)
        with self.lock:
            self.busy[machine] -= 1
        if errors := self.plans.get(detail):
            raise errors.pop(0)


RACK = Rack()


class Bench(Target):
    """`bench:MACHINE/DEVICE`."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"bench:{detail}")
        self.machine, self.detail = detail.partition("/")[0], detail

    def measure(
        self, subjects: Sequence[Subject], feeds_of: FeedsOf, plan: Plan, progress: Callable[[int, int], None]
    ) -> BenchmarkRecord:
        RACK.measure(self.detail, self.machine)
        progress(1, 1)
        figures = (Figure("latency", 1e6, "ns", "measured"),)
        found = [replace(describe(s), target=self.name, figures=figures) for s in subjects]
        return BenchmarkRecord(tuple(found), plan, environment())


class BenchKind(TargetKind):
    name, summary, example = "bench", "devices of the tests", "bench:a/1"

    def open(self, detail: str) -> Target:
        return Bench(detail)


kind = BenchKind()


@pytest.fixture
def rack(monkeypatch: pytest.MonkeyPatch) -> Rack:
    known = {**registry.targets(), "bench": EntryPoint("bench", f"{__name__}:kind", "edgedl.targets")}
    monkeypatch.setattr(registry, "targets", lambda: known)
    monkeypatch.setattr(measuring, "PAUSE", 0.0)
    RACK.__init__()  # type: ignore[misc]
    return RACK


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "fleet" / "troubles.json")


def fleet(quarantine: Quarantine, *details: str, retries: int = 1, journal: Journal | None = None) -> Fleet:
    devices = [Device(detail.replace("/", "-"), f"bench:{detail}", retries=retries) for detail in details]
    return Fleet([(device, SUBJECTS) for device in devices], quarantine, journal)


def measure(fleet: Fleet) -> tuple[Measured, ...]:
    return fleet.measure(CHOICE, Plan(), lambda done, total: None).subjects


# ---- the file ----


def test_a_file_is_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "targets.toml"
    path.write_text(
        '[pi4]\ntarget = "ssh://pi@pi4"\nruntime = "ort"\nthreads = 4\nretries = 2\n\n[here]\ntarget = "local"\n'
    )
    assert read(path) == (Device("pi4", "ssh://pi@pi4", "ort", 4, 2), Device("here", "local"))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("[pi4\n", "is not TOML: Expected"),
        ('[a]\ntarget = "local"\n[a]\ntarget = "local"\n', "a name stands in it twice"),
        ("", "names no device: give it a table such as"),
        ('[a]\ntarget = "local"\nthread = 4\n', r"\[a\]: unknown key 'thread'.*did you mean 'threads'"),
        ('[a]\nruntime = "ort"\n', r'\[a\]: no key "target"'),
        ("[a]\ntarget = 5\n", r"target = 5 is a int, expected str"),
        ('[a]\ntarget = "local"\nthreads = true\n', "threads = True is a bool, expected int"),
        ('[a]\ntarget = "local"\nthreads = 0\n', "threads = 0: expected a number from 1 to 4096"),
        ('[a]\ntarget = "local"\nretries = -1\n', "retries = -1: expected a number from 0 to 100"),
        ('[a]\ntarget = "loca"\n', r"\[a\]: unknown target 'loca'.*did you mean 'local'"),
        ('[a]\ntarget = "ssh://"\n', r"\[a\]: --target ssh:'//': expected ssh://user@host"),
        ('[a]\ntarget = "@other.toml"\n', "is a fleet, which only edgedl benchmark takes"),
        ('a = "local"\n', r"\[a\]: it is a str, expected a table"),
        ("\ud800".encode("utf-8", "surrogatepass"), "is not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_sentence(tmp_path: Path, text: str | bytes, meaning: str) -> None:
    path = tmp_path / "targets.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidInput, match=meaning) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot read .*: No such file"):
        read(tmp_path / "targets.toml")


@given(st.binary(max_size=60).map(lambda tail: b'[a]\ntarget = "local"\n' + tail))
def test_no_file_does_more_than_be_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    try:
        assert all(device.target for device in read(path))
    except (InvalidInput, Unavailable) as refusal:
        assert "any.toml" in str(refusal)


@pytest.mark.parametrize("verb", [find])
def test_a_fleet_is_no_target(verb: Callable[[str], object]) -> None:
    with pytest.raises(InvalidInput, match=r"@targets.toml is a fleet, which only edgedl benchmark takes"):
        verb("@targets.toml")


# ---- the measurement ----


def test_each_device_is_in_the_record_by_its_name(rack: Rack, quarantine: Quarantine) -> None:
    found = measure(fleet(quarantine, "a/1", "b/1"))
    assert [(s.device_name, s.target, s.label) for s in found] == [
        ("a-1", "bench:a/1", "sum.onnx in ONNX Runtime on a-1"),
        ("b-1", "bench:b/1", "sum.onnx in ONNX Runtime on b-1"),
    ]


def test_machines_work_side_by_side_and_none_twice_at_once(rack: Rack, quarantine: Quarantine) -> None:
    rack.pause = 0.2
    measure(fleet(quarantine, "a/1", "a/2", "b/1", "b/2", "c/1"))
    assert rack.most == 3
    assert rack.clashes == 0


def test_a_device_that_cannot_be_reached_is_tried_again(rack: Rack, quarantine: Quarantine) -> None:
    rack.plans["a/1"] = [Unreachable("gone"), Unreachable("gone")]
    (found,) = measure(fleet(quarantine, "a/1", retries=2))
    assert found.failure is None
    assert rack.asked == ["a/1"] * 3
    assert quarantine.troubles() == {}


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (Unreachable("gone"), Failure("Unreachable", "gone")),
        (Unavailable("its host key is not known"), Failure("Unavailable", "its host key is not known")),
        (EngineFailed("crashed"), Failure("EngineFailed", "crashed")),
        (ZeroDivisionError("oh"), Failure("EngineFailed", "its plugin raised ZeroDivisionError: oh")),
    ],
)
def test_the_others_finish(rack: Rack, quarantine: Quarantine, error: Exception, failure: Failure) -> None:
    rack.plans["a/1"] = [error, error]
    first, second, third = measure(fleet(quarantine, "a/1", "a/2", "b/1"))
    assert first.failure == failure
    assert (second.failure, third.failure) == (None, None)
    assert rack.asked.count("a/1") == (2 if failure.kind == "Unreachable" else 1)


def test_a_flaky_device_is_skipped_until_it_is_forgiven(rack: Rack, quarantine: Quarantine) -> None:
    rack.plans["a/1"] = [Unreachable("gone")] * 6
    for _ in range(3):
        measure(fleet(quarantine, "a/1", "b/1"))
    rack.asked.clear()
    skipped, other = measure(fleet(quarantine, "a/1", "b/1"))
    assert rack.asked == ["b/1"]
    assert other.failure is None
    assert skipped.failure
    assert "skipped, for it failed 3 times in a row" in skipped.failure.message
    assert skipped.failure.message.endswith(": gone; to try it again: edgedl targets --forgive a-1")
    quarantine.forgive("a-1")
    assert measure(fleet(quarantine, "a/1"))[0].failure is None


def test_what_the_model_does_is_no_fault_of_the_device(rack: Rack, quarantine: Quarantine) -> None:
    rack.plans["a/1"] = [EngineFailed("crashed")] * 9
    for _ in range(5):
        measure(fleet(quarantine, "a/1"))
    assert quarantine.troubles() == {}


def test_only_what_is_skipped_can_be_forgiven(rack: Rack, quarantine: Quarantine) -> None:
    rack.plans["a/1"] = [Unreachable("gone")] * 6
    for _ in range(3):
        measure(fleet(quarantine, "a/1"))
    with pytest.raises(UnknownName, match="unknown skipped device 'a-2': expected one of a-1; did you mean 'a-1'"):
        quarantine.forgive("a-2")
    quarantine.forgive("bench:a/1")
    assert quarantine.skipped() == {}
    with pytest.raises(InvalidInput, match=r"^no device is skipped, so there is nothing to forgive 'a-1' for"):
        quarantine.forgive("a-1")


def test_what_does_not_pass_is_tried_once_and_still_leads_to_being_skipped(rack: Rack, quarantine: Quarantine) -> None:
    rack.plans["a/1"] = [Unavailable("its host key is not known")] * 3
    for _ in range(3):
        measure(fleet(quarantine, "a/1", retries=5))
    assert rack.asked == ["a/1"] * 3
    assert [trouble.failures for trouble in quarantine.skipped().values()] == [3]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": {"name": "a"}}'])
def test_a_damaged_list_skips_nothing(quarantine: Quarantine, text: str) -> None:
    quarantine.path.parent.mkdir()
    quarantine.path.write_text(text)
    assert quarantine.troubles() == {}
    quarantine.failed("bench:a/1", "a-1", "gone")
    assert quarantine.troubles()["bench:a/1"].failures == 1


def test_an_interrupted_measurement_goes_on_with_the_other_devices(
    rack: Rack, quarantine: Quarantine, tmp_path: Path
) -> None:
    path, plan = tmp_path / "record.journal", Plan()

    def run(stop: bool) -> tuple[Measured, ...]:
        def progress(done: int, total: int) -> None:
            if stop:
                raise KeyboardInterrupt

        with kept_in(path, SUBJECTS, plan, target="fleet") as journal:
            return fleet(quarantine, "a/1", "a/2", journal=journal).measure(CHOICE, plan, progress).subjects

    with pytest.raises(Interrupted, match="what was measured is kept in"):
        run(stop=True)
    assert rack.asked == ["a/1"]
    found = run(stop=False)
    assert rack.asked == ["a/1", "a/2"]
    assert [s.device_name for s in found] == ["a-1", "a-2"]
    assert not path.exists()


def test_the_tables_have_a_column_for_the_device(rack: Rack, quarantine: Quarantine) -> None:
    record = fleet(quarantine, "a/1", "b/1").measure(CHOICE, Plan(), lambda done, total: None)
    title, _, first, second = benchmark_table(record).splitlines()
    assert "device" in title
    assert (" a-1 " in first, " b-1 " in second) == (True, True)
    assert BenchmarkRecord.from_json(record.to_json(), "r").subjects == record.subjects
    rows = build([SUM], record).rows
    assert [row.place for row in rows] == ["a-1", "b-1"]
    assert [row.title.rpartition(" on ")[2] for row in rows] == ["a-1", "b-1"]


def test_the_report_tells_each_machine(rack: Rack, quarantine: Quarantine) -> None:
    record = fleet(quarantine, "a/1", "b/1").measure(CHOICE, Plan(), lambda done, total: None)
    assert [title for title, _ in machines(record)] == ["Environment"]
    first, second = record.subjects
    board = replace(environment(), board="Raspberry Pi 4 Model B Rev 1.4", distribution="Debian 12")
    mixed = replace(record, subjects=(replace(first, machine=board), second))
    assert [title for title, _ in machines(mixed)] == ["Environment of a-1", "Environment of this machine"]
    assert ("Board", "Raspberry Pi 4 Model B Rev 1.4") in environment_facts(board)
    for fmt in ("markdown", "html"):
        assert "Raspberry Pi 4 Model B Rev 1.4" in render(build([SUM], mixed), fmt)


# ---- the command ----


def test_the_command_measures_tells_and_fails(command: Run, tmp_path: Path) -> None:
    (tmp_path / "targets.toml").write_text(
        '[here]\ntarget = "local"\n\n[again]\ntarget = "local"\nthreads = 2\n\n'
        '[gone]\ntarget = "ssh://pi@127.0.0.1:1"\nretries = 0\n'
    )
    words = ("benchmark", str(SUM.path), "--target", "@targets.toml", "--seconds", "0", "--rounds", "6")
    state = {"EDGEDL_TARGETS": str(tmp_path / "state")}
    done = command(*words, "-o", "fleet.json", cwd=tmp_path, **state)
    assert done.returncode == 1
    found = json.loads((tmp_path / "fleet.json").read_text())["subjects"]
    assert [(s["device_name"], s["threads"], len(s["rounds"])) for s in found] == [
        ("here", 1, 6),
        ("again", 2, 6),
        ("gone", 1, 0),
    ]
    assert "gone" in done.stdout
    assert found[2]["failure"]["kind"] == "Unreachable"
    assert "ssh://pi@127.0.0.1:1: it refuses the connection" in done.stderr
    assert done.stderr.splitlines()[-1] == "edgedl: 1 of 3 devices failed: gone"
    for _ in range(2):
        command(*words, cwd=tmp_path, **state)
    assert "gone (ssh://pi@127.0.0.1:1) is skipped" in command("targets", cwd=tmp_path, **state).stdout
    assert command("targets", "--forgive", "gone", cwd=tmp_path, **state).stdout == "gone is tried again\n"
    assert command("targets", "--forgive", "gone", cwd=tmp_path, **state).returncode == 2
    report = command("report", "fleet.json", "-o", "-", "--format", "markdown", cwd=tmp_path, **state)
    assert "| again |" in report.stdout, report.stderr


def test_a_wrong_file_is_told_before_anything_is_measured(command: Run, tmp_path: Path) -> None:
    (tmp_path / "targets.toml").write_text("[a]\n")
    done = command("benchmark", str(SUM.path), "--target", "@targets.toml", "-o", "r.json", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["targets.toml"]
