"""Android devices through a made-up adb command, whose device is a folder and whose benchmark programs print transcripts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from conftest import Run
from edgedl.artifact import Artifact
from edgedl.errors import InvalidInput, Unavailable, Unsupported
from edgedl.measure import BenchmarkRecord, InputChoice, Measured, Plan, Subject
from edgedl.report.figures import figure_sentences, figures_table
from edgedl.report.operators import operators as operators_table
from edgedl.targets import find, kind_of
from edgedl.targets.adb import device as devices
from edgedl.targets.conformance import check

MODELS = Path(str(files("edgedl") / "models"))
TRANSCRIPTS = Path(__file__).with_name("transcripts")
SHORT = Plan(runs=6, seconds=0.0, rounds=6)

ADB = """#!/bin/sh
# a device that is a folder; fault: a line for what it says instead of working, behind the exit code
root=ROOT
echo "$*" >> $root/calls
case $1 in
  devices) printf 'List of devices attached\\nphone-1\\tdevice\\n\\n'; exit 0;;
  -s) serial=$2; shift 2;;
esac
if [ "${serial:-phone-1}" != phone-1 ]; then echo "adb: device '$serial' not found" >&2; exit 1; fi
if [ -f $root/fault ] && echo "$*" | grep -q -- "$(sed -n 1p $root/fault)"; then
  code=$(sed -n 2p $root/fault); sed -n '3,$p' $root/fault >&2; exit $code
fi
case $1 in
  push) cp "$2" "$root$3" && echo "$2: 1 file pushed";;
  shell) shift; exec sh -c "$(echo "$*" | sed "s#/data/local/tmp#$root/data/local/tmp#g")";;
esac
"""
PROGRAM = """#!/bin/sh
# Inference timings in us, Session creation time cost: what the real ones hold
echo "$*" >> {calls}
cat {transcript}
"""


class Phone:
    """root: its files. folder: what edgedl makes there."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "data/local/tmp/edgedl"
        (root / "data/local/tmp").mkdir(parents=True)
        adb = root / "bin" / "adb"
        adb.parent.mkdir()
        adb.write_text(ADB.replace("ROOT", str(root)))
        adb.chmod(0o755)

    def program(self, name: str, transcript: str) -> Path:
        path = self.root / name
        other = "Session creation time cost" if name == "benchmark_model" else "Inference timings in us"
        text = PROGRAM.format(calls=self.root / f"{name}.calls", transcript=TRANSCRIPTS / transcript)
        path.write_text(text.replace(other, "-"))
        return path

    def fault(self, at: str, code: int, said: str) -> None:
        (self.root / "fault").write_text(f"{at}\n{code}\n{said}\n")

    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Phone]:
    made = Phone(tmp_path / "phone")
    monkeypatch.setenv("PATH", f"{made.root / 'bin'}{os.pathsep}{os.environ['PATH']}")
    yield made


def set_up(path: Path, target: str = "adb:phone-1", **settings: str) -> None:
    kind, detail = kind_of(target)
    kind.setup(detail, {"binary": str(path), **settings}, lambda text: None)


@pytest.fixture
def ready(phone: Phone) -> Phone:
    """Both programs are there."""
    set_up(phone.program("benchmark_model", "litert_percentiles.txt"))
    set_up(phone.program("onnxruntime_perf_test", "ort_percentiles.txt"))
    (phone.root / "calls").unlink()
    return phone


def measure(*names: str, plan: Plan = SHORT, target: str = "adb:phone-1") -> BenchmarkRecord:
    subjects = [Subject(name, Artifact(MODELS / name)) for name in names]
    return find(target).measure(subjects, InputChoice(subjects), plan, lambda done, total: None)


def one(name: str = "sum.tflite", plan: Plan = SHORT) -> Measured:
    return measure(name, plan=plan).subjects[0]


def figures(subject: Measured) -> dict[str, float]:
    return {figure.name: figure.value for figure in subject.figures}


@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
def test_it_keeps_the_promises_of_a_target(ready: Phone, fmt: str) -> None:
    check("adb", "adb:phone-1", fmt)


def test_the_figures_are_those_of_the_program(ready: Phone) -> None:
    lite, ort = measure("sum.tflite", "sum.onnx").subjects
    assert figures(lite) == pytest.approx(
        {"mean run": 105784e3, "fastest run": 105416e3, "first run": 106436e3, "load": 87639e3,
         "memory above the start of the program": 14.8164 * (1 << 20)}
    )  # fmt: skip
    assert figures(ort)["mean run"] == pytest.approx(98.961997e6)
    assert figures(ort)["peak memory of the program"] == 271122432
    assert {figure.how for figure in (*lite.figures, *ort.figures)} == {"measured"}
    assert (lite.engine, ort.engine) == ("benchmark_model", "onnxruntime_perf_test")


def test_each_round_is_one_call_with_what_was_planned(ready: Phone) -> None:
    measure("sum.tflite", "sum.onnx", plan=Plan(runs=60, seconds=6.0, rounds=6, warmup_runs=3, warmup_seconds=0.5))
    calls = (ready.root / "benchmark_model.calls").read_text().splitlines()
    assert len(calls) == 6
    assert "--num_threads=1 --num_runs=10 --min_secs=1 --warmup_runs=3 --warmup_min_secs=0.5" in calls[0]
    assert "-m times -r 10 -x 1 -s -Z -I" in (ready.root / "onnxruntime_perf_test.calls").read_text()
    order = [call.split()[6].rpartition("/")[2] for call in ready.calls() if "LD_LIBRARY_PATH" in call]
    assert order != sorted(order), "the subjects take turns"


def test_subjects_are_compared_and_the_table_tells_how(ready: Phone) -> None:
    record = measure("sum.tflite", "sum.onnx")
    assert any(s.startswith("sum.onnx is 1.069x faster than sum.tflite") for s in figure_sentences(record))
    assert "measured" in figures_table(record)


def test_a_profile_holds_the_operators(ready: Phone) -> None:
    text = (TRANSCRIPTS / "litert_percentiles.txt").read_text() + (TRANSCRIPTS / "litert_operators.txt").read_text()
    (ready.root / "both.txt").write_text(text)
    program = ready.folder / "benchmark_model"
    program.write_text(
        program.read_text().replace(str(TRANSCRIPTS / "litert_percentiles.txt"), str(ready.root / "both.txt"))
    )
    found = one(plan=Plan(runs=6, seconds=0.0, rounds=6, profile=True))
    assert found.profile
    assert [cost.kind for cost in found.profile.operators][:2] == ["CONV_2D", "DEPTHWISE_CONV_2D"]
    assert "--enable_op_profiling=true" in (ready.root / "benchmark_model.calls").read_text().splitlines()[-1]
    table = operators_table(found, None)
    assert "DEPTHWISE_CONV_2D" in table
    assert " in " not in table.splitlines()[1], "bytes that are not known are not told"


@pytest.mark.parametrize("name", ["sum.tflite", "sum.onnx"])
def test_a_profile_that_cannot_be_had_is_a_doubt(ready: Phone, name: str) -> None:
    found = one(name, plan=Plan(runs=6, seconds=0.0, rounds=6, profile=True))
    assert found.failure is None
    assert found.figures
    assert found.doubts == (f"no profile: {found.engine} told no operators",)


def test_the_device_tells_what_it_is(ready: Phone) -> None:
    found = one().machine
    assert found
    assert found.cores >= 1
    assert found.memory_bytes
    assert found.system.startswith("Android")


def test_a_model_is_brought_once(ready: Phone) -> None:
    one()
    one()
    assert sum(call.split()[2] == "push" for call in ready.calls()) == 1
    assert [path.suffix for path in (ready.folder / "models").iterdir()] == [".tflite"]


def test_libraries_go_with_the_program(phone: Phone) -> None:
    folder = phone.root / "libraries"
    folder.mkdir()
    (folder / "libonnxruntime.so").write_text("x")
    set_up(phone.program("onnxruntime_perf_test", "ort_2020.txt"), libraries=str(folder))
    assert (phone.folder / "lib/libonnxruntime.so").read_text() == "x"
    assert "LD_LIBRARY_PATH=/data/local/tmp/edgedl/lib" in [one("sum.onnx"), phone.calls()][1][-2]


def test_the_only_device_needs_no_serial(phone: Phone) -> None:
    set_up(phone.program("benchmark_model", "litert_percentiles.txt"), "adb")
    assert measure("sum.tflite", target="adb").subjects[0].failure is None


def test_removing_leaves_nothing(ready: Phone) -> None:
    kind, detail = kind_of("adb:phone-1")
    kind.remove(detail)
    kind.remove(detail)
    assert not ready.folder.exists()


@pytest.mark.parametrize(
    ("at", "code", "said", "kind", "meaning"),
    [
        ("timeout", 1, "adb: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", "Unavailable", "allow USB debugging"),
        ("timeout", 1, "error: device offline", "Unreachable", "it is offline"),
        ("timeout", 1, "adb: device 'phone-1' not found", "Unreachable", "adb devices lists: phone-1"),
        ("timeout", 1, "error: more than one device/emulator", "Unavailable", "name one of phone-1"),
        ("timeout", 255, "error: closed", "Unreachable", "the connection was cut"),
        ("timeout", 126, "sh: x: not executable: 64-bit ELF file", "Unavailable", "built for another processor"),
        ("timeout", 1, 'CANNOT LINK EXECUTABLE "x": library "libonnxruntime.so" not found', "Unavailable", "--set libraries=DIR"),
        ("timeout", 137, "Killed", "EngineFailed", "was killed (out of memory"),
        ("timeout", 139, "Segmentation fault", "EngineFailed", "crashed with SIGSEGV"),
        ("timeout", 124, "", "EngineFailed", "took too long (--timeout)"),
        ("timeout", 1, "Failed to apply delegate", "EngineFailed", "Failed to apply delegate (exit code 1)"),
        ("timeout", 127, "/system/bin/sh: timeout: not found", "Unavailable", "its shell is too old"),
        ("push", 1, "adb: error: failed to copy: remote No space left on device", "Unavailable", "its disk is full"),
        ("push", 1, "adb: error: remote couldn't create file: Read-only file system", "Unavailable", "may not be written to"),
    ],
)  # fmt: skip
def test_what_fails_is_one_sentence(ready: Phone, at: str, code: int, said: str, kind: str, meaning: str) -> None:
    ready.fault(at, code, said)
    failure = one().failure
    assert failure
    assert failure.kind == kind
    assert failure.message.startswith("adb:phone-1: ")
    assert meaning in failure.message
    assert "\n" not in failure.message
    assert not list(ready.folder.rglob("*.part"))


def test_one_that_fails_costs_no_other(ready: Phone) -> None:
    (ready.folder / "benchmark_model").write_text("#!/bin/sh\necho 'ERROR: Failed to load model'\n")
    lite, ort = measure("sum.tflite", "sum.onnx").subjects
    assert lite.failure
    assert lite.failure.message == "the benchmark program gave no figures: ERROR: Failed to load model"
    assert ort.failure is None


def test_a_damaged_transfer_is_told_and_not_kept(ready: Phone) -> None:
    adb = ready.root / "bin" / "adb"
    adb.write_text(adb.read_text().replace('cp "$2"', "cp /dev/null"))
    failure = one().failure
    assert failure
    assert "sum.tflite arrived damaged: try again" in failure.message
    assert list((ready.folder / "models").iterdir()) == []


def test_a_device_that_is_not_set_up(phone: Phone) -> None:
    failure = one().failure
    assert failure
    assert failure.message == ("adb:phone-1 has no benchmark_model: edgedl target setup adb:phone-1 --set binary=PATH")


def test_what_a_set_up_refuses(phone: Phone, tmp_path: Path) -> None:
    kind, detail = kind_of("adb:phone-1")
    with pytest.raises(InvalidInput, match="needs --set binary=PATH"):
        kind.setup(detail, {}, lambda text: None)
    with pytest.raises(InvalidInput, match="No such file or directory; expected LiteRT's benchmark_model"):
        set_up(tmp_path / "nothing")
    (tmp_path / "other").write_text("x")
    with pytest.raises(InvalidInput, match="is neither of the programs that are known"):
        set_up(tmp_path / "other")
    with pytest.raises(InvalidInput, match=r"expected a folder with .so files"):
        set_up(phone.program("benchmark_model", "ort_2020.txt"), libraries=str(tmp_path))
    assert not phone.folder.exists()


@pytest.mark.parametrize("detail", ["-x", "a b", "a;b", "\0"])
def test_a_serial_is_no_option_and_no_command(detail: str) -> None:
    with pytest.raises(InvalidInput, match="as adb devices lists it"):
        find(f"adb:{detail}")


@pytest.mark.parametrize(
    ("settings", "plan", "meaning"),
    [
        ({}, Plan(mode="cold", rounds=6), "measures in the mode latency, not cold"),
        ({"runtime": "openvino"}, SHORT, "runs .tflite in LiteRT on the processor alone"),
        ({"device": "cuda"}, SHORT, "runs .tflite in LiteRT on the processor alone"),
        ({"options": {"kernels": "builtin"}}, SHORT, "benchmark_model takes no --option kernels"),
    ],
)
def test_what_would_be_left_out_is_refused(ready: Phone, settings: dict[str, Any], plan: Plan, meaning: str) -> None:
    subjects = [Subject("sum", Artifact(MODELS / "sum.tflite"), **settings)]
    (found,) = find("adb:phone-1").measure(subjects, InputChoice(subjects), plan, lambda done, total: None).subjects
    assert found.failure
    assert meaning in found.failure.message


def test_a_format_without_a_program_is_refused(ready: Phone) -> None:
    failure = one("sum.ncnn").failure
    assert failure
    assert "no program that is known here measures .ncnn files on Android" in failure.message


def test_inputs_of_ones_own_are_refused(ready: Phone) -> None:
    subjects = [Subject("sum", Artifact(MODELS / "sum.tflite"))]
    with pytest.raises(Unsupported, match="leave --batch and --input out"):
        find("adb:phone-1").measure(subjects, InputChoice(subjects, 4), SHORT, lambda done, total: None)


def test_processors_are_a_mask(ready: Phone) -> None:
    subjects = [Subject("sum", Artifact(MODELS / "sum.tflite"), affinity=(4, 7))]
    find("adb:phone-1").measure(subjects, InputChoice(subjects), SHORT, lambda done, total: None)
    assert any("timeout 600 taskset 90 /data/local/tmp/edgedl/benchmark_model" in call for call in ready.calls())


def test_what_it_cannot_give(ready: Phone) -> None:
    with pytest.raises(Unsupported, match="gives figures and no outputs"):
        find("adb:phone-1").session(Artifact(MODELS / "sum.onnx"))


def test_without_adb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.shutil, "which", lambda _: None)
    assert kind_of("adb:x")[0].status().state == "impossible"
    with pytest.raises(Unavailable, match="needs the adb command"):
        set_up(TRANSCRIPTS / "litert_percentiles.txt", "adb:x")


def test_the_command_line(ready: Phone, command: Run, tmp_path: Path) -> None:
    words = ("benchmark", str(MODELS / "sum.tflite"), "--rounds", "6", "--target")
    done = command(*words, "adb:phone-1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mean run" in done.stdout
    gone = command(*words, "adb:phone-2", cwd=tmp_path)
    assert gone.returncode == 3
    assert "adb:phone-2: it is not connected; adb devices lists: phone-1" in gone.stderr
