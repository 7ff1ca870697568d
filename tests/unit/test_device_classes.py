"""`--target local:...`: what is refused, what binds, what is said of a model that needs too much, and that nothing stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl.artifact import Artifact
from edgedl.errors import EngineFailed, InvalidInput, Unavailable, UnknownName, Unsupported
from edgedl.isolated import IsolatedSession
from edgedl.measure import InputChoice, Plan, Subject, measure
from edgedl.place import Here
from edgedl.sizes import parse_size, size
from edgedl.targets import find
from edgedl.targets.conformance import check
from edgedl.targets.limits import cgroup, confined
from edgedl.targets.limits.device_class import DeviceClass, parse
from edgedl.targets.limits.target import mechanisms

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits need Linux")
SUM = Artifact(Path(str(files("edgedl") / "models" / "sum.tflite")))
QUICK = Plan(runs=6, seconds=0.0, rounds=6, warmup_runs=1, warmup_seconds=0.0)
FEEDS = {"a": np.array([1], np.float32), "b": np.array([2], np.float32)}
GROUPS = cgroup.parents(frozenset({"memory", "cpu"}))
needs_groups = pytest.mark.skipif(not GROUPS, reason="no control group can be made here")


@pytest.fixture
def no_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgedl.targets.limits.target.parents", lambda wanted: ())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the workers are asked for, in order."""
    found, ask = list[str](), IsolatedSession.ask

    def noted(session: IsolatedSession, do: str, *told: Any, **more: Any) -> Any:
        found.append(do)
        return ask(session, do, *told, **more)

    monkeypatch.setattr(IsolatedSession, "ask", noted)
    return found


def left() -> list[Path]:
    """This process's groups that are still there."""
    return [found for parent in GROUPS for found in parent.folder.glob(f"{cgroup.PREFIX}-{os.getpid()}-*")]


def test_all_limits_are_read_in_any_order() -> None:
    assert parse("memory=64MB,cpus=1,quota=25%") == DeviceClass(1, 0.25, 64_000_000)


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ("cpus=0", "cpus=0: expected 1 to "),
        ("cpus=4097", "the processors that this process may use"),
        ("quota=0%", "quota=0%: expected 1% to 100%"),
        ("quota=25", "quota=25: expected 1% to 100%"),
        ("memory=64", "memory=64: expected a number with a unit"),
        ("memory=1000000GB", "expected a number with a unit up to"),
        ("memory", "expected each limit once"),
        ("cpus=1,cpus=1", "expected each limit once"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(detail: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        find(f"local:{detail}")


def test_an_unknown_limit_names_the_nearest() -> None:
    with pytest.raises(
        UnknownName, match=r"unknown limit 'memroy': expected one of cpus, memory, quota; did you mean 'memory'"
    ):
        find("local:memroy=64MB")


@given(st.text(max_size=30))
def test_any_text_is_a_class_or_refused(detail: str) -> None:
    try:
        assert parse(detail) != DeviceClass()
    except InvalidInput as refusal:
        assert "\n" not in str(refusal).replace(detail, "")


@given(st.integers(1, 10**12))
def test_sizes_are_read_as_they_are_told(count: int) -> None:
    read = parse_size(size(count))
    assert read is not None
    assert abs(read - count) <= 0.005 * count


def test_affinity_alone_needs_no_group() -> None:
    check("local", "local:cpus=1")
    assert left() == []


@needs_groups
def test_a_device_class_keeps_every_promise_of_a_target() -> None:
    check("local", "local:cpus=1,quota=50%,memory=1GB")
    assert left() == []


@needs_groups
def test_the_worker_is_in_its_group_on_its_processor() -> None:
    target = find("local:cpus=1,memory=900MB")
    with target.session(SUM) as session:
        worker = int(subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(session._process.pid)], capture_output=True, text=True, check=True  # type: ignore[attr-defined]
        ).stdout)  # fmt: skip
        (group,) = left()
        assert (group / "cgroup.procs").read_text().split() == [str(worker)]
        assert len(os.sched_getaffinity(worker)) == 1
    assert left() == []


def over_budget(target: str, limit: str) -> None:
    subjects = [Subject("sum", SUM)]
    record = find(target).measure(subjects, InputChoice(subjects), QUICK, lambda *_: None)
    (found,) = record.subjects
    assert found.failure
    assert found.failure.message == f"needed more than {limit} and was killed"
    assert (found.failure.kind, found.target) == ("EngineFailed", target)
    assert left() == []


@needs_groups
def test_what_needs_too_much_is_killed_by_its_group() -> None:
    over_budget("local:memory=12MB", "12 MB")


def test_without_groups_a_watchdog_kills_it(no_groups: None) -> None:
    over_budget("local:memory=12MB", "12 MB")


def test_without_groups_a_model_that_fits_runs(no_groups: None) -> None:
    with find("local:memory=1GB").session(SUM) as session:
        assert session.run(FEEDS)["sum"].tolist() == [3.0]


def test_the_budget_is_not_for_telling_what_is_installed(no_groups: None, asked: list[str]) -> None:
    subjects = [Subject("sum", SUM)]
    record = find("local:memory=1GB").measure(subjects, InputChoice(subjects), QUICK, lambda *_: None)
    (found,) = record.subjects
    assert found.machine is None, "it is this machine, which the record tells of"
    assert "memory" in asked
    assert "environment" not in asked
    assert found.notes[0] == "local:memory=1GB: memory by a watchdog on anonymous memory"
    assert found.notes[1].startswith("Against the memory count Python, numpy, the engine and the model; files that")


def test_the_fastest_engine_is_looked_for_outside_of_the_budget(
    no_groups: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgedl.isolated.named", lambda *told: {"fastest": "litert"}[told[1]])
    with find("local:memory=1GB").session(SUM, runtime="fastest") as session:
        assert session.engine.startswith("ai-edge-litert")


def test_a_quota_needs_groups(no_groups: None) -> None:
    with pytest.raises(Unavailable, match="a quota needs control groups, and none can be made here"):
        find("local:quota=50%").session(SUM)


@pytest.mark.parametrize("mode", ["latency", "cold"])
def test_another_machine_is_told_of_when_the_memory_was_read(
    asked: list[str], mode: Literal["latency", "cold"]
) -> None:
    class Elsewhere(Here):
        here = False

    subjects, plan = [Subject("sum", SUM)], replace(QUICK, mode=mode)
    (found,) = measure(subjects, InputChoice(subjects), plan, lambda *_: None, Elsewhere()).subjects
    assert found.machine
    assert asked.count("environment") == 1
    assert asked.index("memory") < asked.index("environment")


@needs_groups
def test_the_record_tells_what_bound_and_the_mean() -> None:
    subjects = [Subject("sum", SUM)]
    record = find("local:quota=50%,cpus=1").measure(subjects, InputChoice(subjects), QUICK, lambda *_: None)
    (found,) = record.subjects
    assert found.quota == 0.5
    assert [(f.name, f.how) for f in found.figures] == [("mean", "measured")]
    assert f"cpus by processor affinity, quota by cgroup v{GROUPS[0].version} (period 5 ms)" in found.notes[0]


def test_what_gets_around_the_limits_is_refused() -> None:
    subjects = [Subject("sum", SUM, affinity=(0,))]
    with pytest.raises(Unsupported, match="leave --affinity out"):
        find("local:cpus=1").measure(subjects, InputChoice(subjects), QUICK, lambda *_: None)
    several = Plan(mode="throughput", streams=2)
    with pytest.raises(Unsupported, match="is for one process, not for 2"):
        find("local:cpus=1").measure(subjects, InputChoice(subjects), several, lambda *_: None)


def test_a_crash_keeps_its_signal() -> None:
    order = '{"join": [], "processors": [0], "kills": null, "watch": null}'
    dies = [sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"]
    done = subprocess.run([sys.executable, "-I", confined.__file__, order, *dies])
    assert done.returncode == -signal.SIGSEGV


def test_a_model_that_takes_too_long_is_no_memory_failure() -> None:
    place = find("local:memory=1GB").place  # type: ignore[attr-defined]
    assert place.failure(-signal.SIGKILL, "") is None
    assert isinstance(place.failure(confined.OVER, ""), EngineFailed)


def test_the_worker_dies_with_what_started_it() -> None:
    """SIGKILL leaves no time to tidy up; the next group of the same place sweeps."""
    session = find("local:memory=1GB").session(SUM)
    process = session._process  # type: ignore[attr-defined]
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True).stdout
    process.kill()
    session.close()
    assert not Path(f"/proc/{int(children)}/exe").exists()
    assert left() == []


@needs_groups
def test_groups_of_processes_that_are_gone_are_swept() -> None:
    stale = GROUPS[0].folder / f"{cgroup.PREFIX}-4194999-0000"
    stale.mkdir()
    with cgroup.groups(DeviceClass(memory=10**9), GROUPS[:1]):
        assert not stale.exists()


@pytest.mark.parametrize(
    ("limits", "version", "settings"),
    [
        (
            DeviceClass(1, 0.25, 64_000_000), 2,
            {"cpu.max": "1250 5000", "memory.max": "64000000", "memory.swap.max": "0"},
        ),
        (
            DeviceClass(1, 0.05, 64_000_000), 1,
            {
                "cpu.cfs_period_us": "20000", "cpu.cfs_quota_us": "1000",
                "memory.limit_in_bytes": "64000000", "memory.memsw.limit_in_bytes": "64000000",
            },
        ),
    ],
)  # fmt: skip
def test_what_a_group_is_told(limits: DeviceClass, version: int, settings: dict[str, str]) -> None:
    parent = cgroup.Parent(Path("unused"), version, frozenset({"cpu", "memory"}))
    assert parent.settings(limits) == settings


def test_where_version_2_is_mounted_is_read(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
        "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    )
    assert cgroup._mounts(2, "memory", table) == [Path("/sys/fs/cgroup")]
    assert cgroup._mounts(1, "memory", table) == [Path("/sys/fs/cgroup/memory")]
    assert cgroup._mounts(1, "cpu", table) == []


def test_the_own_group_is_read(tmp_path: Path) -> None:
    table = tmp_path / "cgroup"
    table.write_text("9:name=systemd:/\n4:memory:/a:b\n3:cpu,cpuacct:/c\n0::/user.slice/app.scope\n")
    assert cgroup._own_path(2, "memory", table) == "/user.slice/app.scope"
    assert cgroup._own_path(1, "memory", table) == "/a:b"
    assert cgroup._own_path(1, "cpu", table) == "/c"


def test_the_list_tells_the_mechanisms() -> None:
    assert mechanisms().startswith("cpus by affinity, memory by ")
