"""The emulated ARM64 machine, with a stand-in for QEMU: its archive, its console, what is refused, set up, killed and told."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import emulated_machine
from conftest import Run
from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError, EngineFailed, InvalidInput, Unavailable, Unsupported
from edgedl.measure import InputChoice, Measured, Plan, Subject
from edgedl.reference import TaskReference
from edgedl.targets import find, kind_of
from edgedl.targets.conformance import check
from edgedl.targets.downloads import Downloads
from edgedl.targets.qemu import sysroot
from edgedl.targets.qemu.guests import QEMU_AARCH64
from edgedl.targets.qemu.parts import made_from
from edgedl.targets.qemu_system import archive, boot, console, owned, setup
from edgedl.targets.qemu_system.archive import Entry
from edgedl.targets.qemu_system.command import guest_memory, machine_command
from edgedl.targets.qemu_system.device import parse
from edgedl.targets.qemu_system.image import entries, order
from edgedl.targets.target import Status
from emulated_machine import read_archive

NAME = "qemu-aarch64-system"
MODELS = Path(str(files("edgedl") / "models"))
SUM = Artifact(MODELS / "sum.tflite")
FEEDS = {"a": np.array([1], np.float32), "b": np.array([2], np.float32)}


def quiet(text: str) -> None:
    """Nobody watches."""


# ---- the archive ----

names = st.text("abz09._-é", min_size=1, max_size=20).filter(lambda name: name not in (".", ".."))
contents = st.dictionaries(names, st.tuples(st.booleans(), st.binary(max_size=600), st.integers(0, 2**32 - 1)))


def written(found: list[Entry]) -> bytes:
    out = io.BytesIO()
    archive.write(out, found)
    return out.getvalue()


@given(contents)
def test_an_archive_reads_back_as_it_was_written(files: dict[str, tuple[bool, bytes, int]]) -> None:
    blob = written([archive.file(name, data, runs, at) for name, (runs, data, at) in files.items()])
    back = read_archive(blob)
    assert len(blob) % 4 == 0
    assert {name: (bool(one.mode & 0o100), one.data, one.modified) for name, one in back.items()} == files
    assert all(stat.S_ISREG(one.mode) for one in back.values())


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """A folder with everything that an archive can hold."""
    source = tmp_path / "source"
    (source / "deep/er").mkdir(parents=True)
    (source / "deep/er/file").write_bytes(b"x" * 4097)
    (source / "program").write_text("#!/bin/sh\n")
    (source / "program").chmod(0o755)
    (source / "link").symlink_to("deep/er/file")
    (source / "folder-link").symlink_to("deep")
    (source / "left/out").mkdir(parents=True)
    return source


def test_a_folder_is_taken_with_its_links_and_modes(grown: Path) -> None:
    back = read_archive(written(list(archive.tree(grown, "usr", ["left"]))))
    assert list(back) == [
        "usr", "usr/folder-link", "usr/link", "usr/program", "usr/deep", "usr/deep/er", "usr/deep/er/file",
    ]  # fmt: skip
    assert [stat.filemode(one.mode) for one in back.values()] == [
        "drwxr-xr-x", "lrwxrwxrwx", "lrwxrwxrwx", "-rwxr-xr-x", "drwxr-xr-x", "drwxr-xr-x", "-rw-r--r--",
    ]  # fmt: skip
    assert (back["usr/link"].data, back["usr/folder-link"].data) == (b"deep/er/file", b"deep")
    assert back["usr/deep/er/file"].data == b"x" * 4097
    assert back["usr/program"].modified == int((grown / "program").stat().st_mtime)


@pytest.mark.skipif(not shutil.which("cpio"), reason="no cpio here (apt-get install cpio)")
def test_cpio_unpacks_the_same(grown: Path, tmp_path: Path) -> None:
    blob, into = written(list(archive.tree(grown, "usr", ["left"]))), tmp_path / "into"
    into.mkdir()
    subprocess.run(["cpio", "--quiet", "-i"], cwd=into, input=blob, check=True)
    shutil.rmtree(grown / "left")
    assert subprocess.run(["diff", "-r", "--no-dereference", grown, into / "usr"]).returncode == 0
    assert (into / "usr/program").stat().st_mode & 0o100


def test_a_name_that_is_no_text_is_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"net-\xff.tflite")
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "link").symlink_to(name)
    blob = written(list(archive.tree(tmp_path, "model")))
    assert b"model/net-\xff.tflite\0" in blob
    assert blob.count(b"net-\xff.tflite") == 2


def test_what_the_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    huge = tmp_path / "huge.onnx"
    with huge.open("wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(InvalidInput, match=r"^model/huge.onnx has 4294967296 bytes, .* less than 4 GiB of one file$"):
        written([archive.file("model/huge.onnx", huge)])


def test_a_file_that_changes_meanwhile_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log").write_text("longer by now")
    monkeypatch.setattr(Entry, "size", property(lambda entry: 3 if isinstance(entry.data, Path) else len(entry.data)))
    with pytest.raises(InvalidInput, match="changed while it was read: try again"):
        written([archive.file("log", tmp_path / "log")])


# ---- what may be asked for ----


@pytest.mark.parametrize(
    ("detail", "name", "memory"),
    [
        ("", f"{NAME}:cortex-a76", None),
        ("cortex-a53", f"{NAME}:cortex-a53", None),
        ("memory=64MB", f"{NAME}:cortex-a76,memory=64MB", 64_000_000),
        ("cortex-a72,memory=1MiB", f"{NAME}:cortex-a72,memory=1MiB", 1 << 20),
    ],
)
def test_a_detail_is_a_core_and_a_budget(detail: str, name: str, memory: int | None) -> None:
    assert (parse(detail).name, parse(detail).memory) == (name, memory)


@pytest.mark.parametrize(
    ("detail", "message"),
    [
        ("cortex-a5", "unknown core 'cortex-a5': expected one of cortex-a53, cortex-a72, cortex-a76; did you mean 'cortex-a53'?"),
        ("max", "core 'max' is no real processor, and gives wrong int8 results"),
        ("cortex-a53,memroy=3MB", "unknown limit 'memroy': expected one of memory; did you mean 'memory'?"),
        ("cortex-a53,", "unknown limit ''"),
        ("memory=64MB,cortex-a53", "unknown limit 'cortex-a53'"),
        ("memory=1MB,memory=2MB", "expected memory once, as"),
        ("memory=64", "memory=64: expected a number with a unit"),
        ("memory=0MB", "memory=0MB: expected a number with a unit"),
        ("memory=", "memory=: expected a number with a unit"),
        ("memory=9999999GB", "memory=9999999GB: expected a number with a unit up to"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(detail: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse(detail)
    assert message in str(refused.value)


@given(st.text("cortex-a53,memory=64MB", max_size=30))
def test_any_detail_is_taken_or_refused(detail: str) -> None:
    try:
        device = parse(detail)
    except InvalidInput as refusal:
        assert str(refusal)
    else:
        assert parse(device.name.partition(":")[2]) == device


# ---- the console ----

KILLED = """[    0.000000] Booting Linux
edgedl: started
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
[    1.605447] Memory cgroup out of memory: Killed process 89 (python3.11) total-vm:93964kB
Killed

edgedl: ended 137 1
[    1.620686] reboot: Power down
"""
PANIC = """[    1.1] Run /init as init process
[    1.2] Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.
[    1.3] CPU: 0 PID: 1 Comm: swapper
"""
NO_ROOT = "[ 1.2] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n"
ENDINGS = {
    KILLED: "needed more than 16 MB and was killed",
    PANIC: f"{NAME}:cortex-a76,memory=16MB: the guest's kernel gave up: No working init found",
    NO_ROOT: "the guest's kernel gave up: VFS: Unable to mount root fs on unknown-block(0,0)",
    "": f"{NAME}:cortex-a76,memory=16MB: the guest did not start",
    "[    0.19] Initramfs unpacking failed: write error\n": "the guest did not start: Initramfs unpacking failed: write error",
    "insmod: can't insert '/modules/virtio.ko'\n[ 1.0] y\n": "the guest did not start: insmod: can't insert '/modules/virtio.ko'",
    "edgedl: started\n": "the guest stopped while the engine ran",
    "edgedl: started\nedgedl: ended 139 0\n": "the engine's process crashed with SIGSEGV",
    "edgedl: started\nSegmentation fault\n\nedgedl: ended 139 0\n[ 2.0] reboot\n": "the engine's process crashed with SIGSEGV",
    "edgedl: started\nNo module named 'edgedl'\nedgedl: ended 1 0\n": "ended with exit code 1: No module named 'edgedl'",
    "edgedl: started\nedgedl: ended 255 0\n": "ended with exit code 255",
}


@pytest.mark.parametrize(("text", "message"), ENDINGS.items())
def test_the_console_tells_how_it_ended(text: str, message: str) -> None:
    error = console.explain(console.read(text), parse("memory=16MB"), 16_000_000)
    assert isinstance(error, EngineFailed)
    assert str(error).endswith(message)


def test_without_a_budget_of_its_own_the_way_out_is_told() -> None:
    error = console.explain(console.read(KILLED), parse(""), 2 << 30)
    assert str(error) == "needed more than 2.15 GB and was killed (memory=SIZE behind the core gives it another budget)"


@pytest.mark.parametrize("text", [KILLED, PANIC])
def test_a_console_that_is_cut_off_is_one_sentence(text: str) -> None:
    for end in range(len(text)):
        told = console.read(text[:end])
        for error in (console.explain(told, parse("memory=16MB"), 16_000_000), console.too_soon(told, parse(""))):
            assert len(str(error).splitlines()) == 1


@given(st.data())
def test_a_garbled_console_is_one_sentence(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(sorted(ENDINGS)))
    at = data.draw(st.integers(0, len(text)))
    told = console.read(text[:at] + data.draw(st.text(max_size=20)) + text[at + data.draw(st.integers(0, 20)) :])
    assert len(str(console.explain(told, parse("memory=16MB"), 16_000_000)).splitlines()) == 1


# ---- the command ----


def test_the_clock_counts_instructions_and_nothing_is_shared() -> None:
    words = machine_command(parse("cortex-a53").core, Path("/k"), Path("/i"), Path("/a,b/console"), (300 << 20) + 1)
    pairs = dict(itertools.pairwise(words))
    assert (pairs["-cpu"], pairs["-icount"], pairs["-m"]) == ("cortex-a53", "shift=0,sleep=off", "301M")
    assert "file,id=console,path=/a,,b/console" in words
    assert "-nodefaults" in words
    assert not any("netdev" in word or "fsdev" in word or "drive" in word for word in words)


def test_the_machine_has_room_for_the_archive_twice_and_the_budget() -> None:
    assert guest_memory(100, 1000) >= 2 * 100 + 1000
    assert guest_memory(0, 1 << 40) - (1 << 40) > (1 << 40) // 64  # the kernel keeps 64 bytes for each page of 4096


def test_a_shell_reads_the_order(tmp_path: Path) -> None:
    (tmp_path / "order").write_bytes(order(12345))
    done = subprocess.run(
        ["sh", "-c", '. ./order; echo "$BUDGET"; for m in $MODULES; do echo "$m"; done; env -i $WORKER'.replace("env -i", "echo")],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    budget, *modules, worker = done.stdout.splitlines()
    assert (budget, tuple(modules)) == ("12345", boot.MODULES)
    assert worker.endswith("/usr/bin/python3.11 -s -m edgedl.budgeted")


# ---- the set-up, with packages that hold next to nothing ----


@pytest.fixture
def possible(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder that the set-ups are made in; that of qemu-aarch64 is there."""
    monkeypatch.setenv("EDGEDL_TARGETS", str(tmp_path / "targets"))
    monkeypatch.setattr(setup, "impossible", lambda: "")
    monkeypatch.setattr(sysroot, "setup", lambda guest, settings, watch: share(sysroot.sysroot(guest)))
    return tmp_path / "targets" / NAME


def share(place: sysroot.Sysroot) -> None:
    for name in ("root/lib", "root/usr/lib/gconv", "root/etc", "packages/onnxruntime", "packages/ai_edge_litert"):
        (place.ready / name).mkdir(parents=True, exist_ok=True)
    place.marker.write_text(json.dumps({"made_from": made_from(QEMU_AARCH64)}))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands for apt: every package that was downloaded, in order."""
    found: list[str] = []

    def packages(downloads: Downloads, wanted: list[str], mirror: str, watch: object) -> list[Path]:
        (name,) = wanted
        package, _, architecture = name.partition(":")
        there = downloads.find(f"{package}_", f"_{architecture}.deb")
        return [there or fresh(downloads, package)]

    def fresh(downloads: Downloads, package: str) -> Path:
        found.append(package)
        path = downloads.folder / "fresh" / f"{package}_1_arm64.deb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(package)
        return downloads.keep(path)

    monkeypatch.setattr(boot, "packages", packages)
    monkeypatch.setattr(boot, "run", lambda *_: "linux-image-6.1.0-50-cloud-arm64 (= 6.1.176-1)\n")
    monkeypatch.setattr(setup, "build", build)
    return found


def build(place: boot.Boot, *_: object) -> None:
    place.ready.mkdir()
    for path in (place.kernel, place.busybox, *map(place.module, boot.MODULES)):
        path.write_text(path.name)


def set_up(try_out: Any = lambda place: None) -> None:
    setup.setup({}, quiet, try_out)


def test_a_set_up_is_ready_and_stays_as_it_is(possible: Path, asked: list[str]) -> None:
    kind = kind_of(NAME)[0]
    assert kind.status() == Status("set-up", f"edgedl target setup {NAME}")
    set_up()
    assert kind.status() == Status("ready")
    assert asked == ["linux-image-cloud-arm64", "linux-image-6.1.0-50-cloud-arm64", "busybox-static"]
    set_up()
    assert len(asked) == 3
    assert {path.name for path in possible.iterdir()} == {"boot", "downloads"}


def test_what_does_not_compute_is_no_set_up_and_the_downloads_stay(possible: Path, asked: list[str]) -> None:
    def broken(place: boot.Boot) -> None:
        raise EngineFailed("1 + 2 = 4")

    with pytest.raises(EngineFailed, match="1 \\+ 2 = 4"):
        set_up(broken)
    assert [path.name for path in possible.iterdir()] == ["downloads"]
    set_up()
    assert len(asked) == 3


def test_an_interrupted_download_asks_again_which_kernel_is_present(
    possible: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        set_up()
    monkeypatch.setattr(boot, "run", lambda *_: "linux-image-6.1.0-51-cloud-arm64 (= 6.1.180-1)\n")
    set_up()
    assert asked[-2:] == ["linux-image-6.1.0-51-cloud-arm64", "busybox-static"]


@pytest.mark.parametrize("damage", [None, b"", b"vmlinu", b"[]", b"{}", b'{"parts": 1}'])
@pytest.mark.parametrize("part", ["vmlinuz", "busybox", "virtio.ko", "contents.json"])
def test_half_a_set_up_is_none(possible: Path, asked: list[str], part: str, damage: bytes | None) -> None:
    set_up()
    path = setup.boot().ready / part
    path.unlink() if damage is None else path.write_bytes(damage)
    assert kind_of(NAME)[0].status().state == "set-up"
    with pytest.raises(Unavailable, match=f"is not set up: edgedl target setup {NAME}"):
        find(NAME).session(SUM)
    set_up()
    assert kind_of(NAME)[0].status() == Status("ready")
    assert len(asked) == 3


def test_without_its_sysroot_it_is_set_up_again(possible: Path, asked: list[str]) -> None:
    set_up()
    sysroot.remove(QEMU_AARCH64)
    assert kind_of(NAME)[0].status().state == "set-up"
    with pytest.raises(Unavailable, match=f"is not set up: edgedl target setup {NAME}$"):
        find(NAME).session(SUM)


def test_an_edgedl_that_makes_it_otherwise_makes_it_anew_from_what_is_there(
    possible: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up()
    monkeypatch.setattr(boot, "made_from", lambda: "another")
    monkeypatch.setattr(setup, "made_from", lambda: "another")
    assert kind_of(NAME)[0].status().state == "set-up"
    with pytest.raises(Unavailable, match=f"is not set up: edgedl target setup {NAME}$"):
        find(NAME).session(SUM)
    set_up()
    assert (kind_of(NAME)[0].status(), len(asked)) == (Status("ready"), 3)


@pytest.mark.parametrize(("part", "usable"), [("system", False), ("instruction counter", True)])
def test_of_the_shared_sysroot_the_counter_may_be_another(
    machine: Machine, part: str, usable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = sysroot.sysroot(QEMU_AARCH64)
    place.marker.write_text(json.dumps({"made_from": {**made_from(QEMU_AARCH64), part: "another"}}))
    assert (kind_of(NAME)[0].status() == Status("ready")) == usable
    refused = pytest.raises(Unavailable, match=f"this one makes its system otherwise: edgedl target setup {NAME}$")
    with contextlib.nullcontext() if usable else refused:
        find(NAME).session(SUM).close()


def test_removal_leaves_the_sysroot(possible: Path, asked: list[str]) -> None:
    set_up()
    kind_of(NAME)[0].remove("")
    assert not possible.exists()
    assert sysroot.sysroot(QEMU_AARCH64).contents()
    kind_of(NAME)[0].remove("")


def test_without_qemu_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysroot, "impossible", lambda: "")
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    reason = "it needs qemu-system-aarch64 (apt-get install qemu-system-arm)"
    assert kind_of(NAME)[0].status() == Status("impossible", reason)
    with pytest.raises(Unavailable) as refused:
        set_up()
    assert str(refused.value) == f"target {NAME!r} is not possible here: {reason}"


def test_a_package_without_a_kernel_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "run", lambda *_: "")
    with pytest.raises(Unavailable, match=r"hold no boot/vmlinuz-\*: choose another --set mirror=URL"):
        boot.build(boot.Boot(tmp_path), Path("k.deb"), Path("b.deb"), quiet)


# ---- the target, with a machine that is this one ----


class Machine:
    """How the stand-in is to go."""

    def __init__(self, orders: Path) -> None:
        self.orders = orders
        self.goes("edgedl: started\n")

    def goes(self, text: str, code: int = 0, **more: Any) -> None:
        self.orders.write_text(json.dumps({"console": text, "code": code, **more}))

    def measure(self, *sources: Artifact, target: str = NAME, plan: Plan | None = None) -> tuple[Measured, ...]:
        subjects = [Subject(source.path.name, source) for source in sources]
        record = find(target).measure(subjects, InputChoice(subjects), plan or Plan(), lambda *_: None)
        return record.subjects


@pytest.fixture
def machine(possible: Path, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """qemu-system-aarch64 on the PATH is the stand-in, and the set-up is there."""
    set_up()
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "qemu-system-aarch64"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{emulated_machine.__file__}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("EMULATED_MACHINE", str(tmp_path / "orders"))
    return Machine(tmp_path / "orders")


def left() -> list[str]:
    return sorted(path.name for path in setup.boot().folder.iterdir())


def test_the_record_has_counts_memory_parity_and_no_latency(machine: Machine) -> None:
    (found,) = machine.measure(SUM, target=f"{NAME}:cortex-a53,memory=64MB")
    assert found.failure is None
    assert (found.target, found.rounds, found.first_ns) == (f"{NAME}:cortex-a53,memory=64MB", (), None)
    figures = {figure.name: figure for figure in found.figures}
    assert {name: figure.how for name, figure in figures.items()} == {
        "instructions": "counted", "peak memory": "measured", "engine and model": "measured", "least budget": "measured",
    }  # fmt: skip
    assert found.memory
    assert figures["peak memory"].value == found.memory.peak
    assert figures["engine and model"].value == found.memory.peak - found.memory.base
    assert figures["least budget"].value == 20_000_000
    assert found.parity
    assert found.parity.exact
    assert any("no latency" in note for note in found.notes)
    assert left() == ["boot", "downloads"]


def test_it_keeps_the_promises_of_a_target(machine: Machine) -> None:
    check(NAME, f"{NAME}:cortex-a72,memory=128MB")


def test_a_model_over_its_budget_is_killed_and_the_reason_is_its_row(machine: Machine) -> None:
    machine.goes(KILLED, dies=True)
    first, second = machine.measure(SUM, Artifact(MODELS / "sum.onnx"), target=f"{NAME}:memory=16MB")
    for found in (first, second):
        assert found.failure
        assert found.failure.message == "needed more than 16 MB and was killed"
        assert not found.figures
    assert left() == ["boot", "downloads"]


def test_a_qemu_that_does_not_start_says_why(machine: Machine) -> None:
    machine.goes("", code=1, said="qemu-system-aarch64: could not load kernel")
    with pytest.raises(Unavailable, match=f"^{NAME}:cortex-a76: qemu-system-aarch64: could not load kernel$"):
        find(NAME).session(SUM)
    machine.goes("", code=3)
    with pytest.raises(Unavailable, match=r"qemu-system-aarch64: exit code 3$"):
        find(NAME).session(SUM)


def hang(machine: Machine, text: str) -> Measured:
    machine.goes(text, hangs=True)
    return machine.measure(SUM, plan=Plan(timeout=0.5))[0]


def test_a_guest_that_hangs_while_it_boots_is_ended(machine: Machine) -> None:
    found = hang(machine, "[    0.1] Booting Linux\n")
    assert found.failure
    assert found.failure.message == (
        f"{NAME}:cortex-a76: ended before the guest had booted (its last words: Booting Linux): "
        "it needs a longer --timeout, or more free memory here"
    )


def test_an_engine_that_hangs_there_is_ended(machine: Machine) -> None:
    found = hang(machine, "edgedl: started\n")
    assert found.failure
    assert "the engine hung: it took more than 0.5 s and was ended" in found.failure.message


def test_no_room_for_the_archive_is_one_sentence(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgedl.targets.qemu_system.image.write", full)
    with pytest.raises(Unavailable, match=r"No space left on device after 0 B\).*EDGEDL_TARGETS moves the folder$"):
        find(NAME).session(SUM)
    assert left() == ["boot", "downloads"]


def gone(process: int) -> bool:
    for _ in range(100):
        if not Path("/proc", str(process)).exists():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("killed", ["edgedl", "owned"])
def test_a_machine_ends_with_edgedl(tmp_path: Path, killed: str) -> None:
    """Killed with SIGKILL, which nobody can answer; the machine stands for one that does not see its host go."""
    command = [
        "sh",
        "-c",
        f"echo $$ > {tmp_path}/machine.new; mv {tmp_path}/machine.new {tmp_path}/machine; exec sleep 60",
    ]
    code = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-I", {owned.__file__!r}, str(os.getpid()), *{command!r}])
print(child.pid, flush=True)
child.wait()
"""
    edgedl = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert edgedl.stdout
    between = int(edgedl.stdout.readline())
    for _ in range(100):
        if (tmp_path / "machine").exists():
            break
        time.sleep(0.1)
    machine = int((tmp_path / "machine").read_text())
    os.kill(edgedl.pid if killed == "edgedl" else between, signal.SIGKILL)
    assert gone(machine)
    edgedl.communicate()


@pytest.mark.parametrize(
    ("command", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -SEGV $$", -11), ("kill -KILL $$", -9)]
)
def test_how_a_machine_ends_is_handed_on(command: str, code: int) -> None:
    words = [sys.executable, "-I", owned.__file__, str(os.getpid()), "sh", "-c", f"cat; {command}"]
    done = subprocess.run(words, input=b"to and fro", capture_output=True)
    assert (done.returncode, done.stdout) == (code, b"to and fro")


def test_several_threads_and_pytorch_are_refused(machine: Machine) -> None:
    two = Subject("sum", SUM, threads=2)
    (found,) = find(NAME).measure([two], InputChoice([two]), Plan(), lambda *_: None).subjects
    assert found.failure
    assert "leave --threads out" in found.failure.message
    with pytest.raises(Unsupported, match=f"runs in PyTorch, which {NAME}:cortex-a76 has not"):
        find(NAME).session(TaskReference("zoo:digits"))


def test_a_format_without_an_engine_there_is_refused(machine: Machine) -> None:
    with pytest.raises(Unsupported, match=r"there is no engine for ncnn files, give a \.onnx or \.tflite file$"):
        find(NAME).session(Artifact(MODELS / "sum.ncnn"))
    assert left() == ["boot", "downloads"]


def test_a_session_there_computes_and_leaves_nothing(machine: Machine) -> None:
    with find(NAME).session(SUM) as session:
        assert session.run(FEEDS)["sum"].tolist() == [3.0]
        assert len(left()) == 3
    assert left() == ["boot", "downloads"]


@pytest.mark.parametrize(("fmt", "engine", "other"), [
    ("tflite", "ai_edge_litert", "onnxruntime"), ("onnx", "onnxruntime", "ai_edge_litert"),
])  # fmt: skip
def test_the_guest_gets_the_engine_that_loads_the_format(machine: Machine, fmt: str, engine: str, other: str) -> None:
    held = {
        entry.name for entry in entries(Artifact(MODELS / f"sum.{fmt}"), sysroot.sysroot(QEMU_AARCH64), setup.boot(), 1)
    }
    assert f"packages/{engine}" in held
    assert not any(name.startswith((f"packages/{other}", "usr/lib/gconv")) for name in held)
    assert {f"model/sum.{fmt}", "init", "order", "bin/busybox", "runner/edgedl/budgeted.py"} <= held
    assert all(Path(name).parent.as_posix() in {*held, "."} for name in held)


def test_a_group_comes_with_its_members(machine: Machine, tmp_path: Path) -> None:
    group = tmp_path / "g.onnx.group"
    group.mkdir()
    for name in ("encoder.onnx", "decoder.onnx", "g.onnx.group.manifest.json", "encoder.onnx.golden.safetensors"):
        (group / name).write_text(name)
    held = [entry.name for entry in entries(Artifact(group), sysroot.sysroot(QEMU_AARCH64), setup.boot(), 1)]
    assert held[held.index("model") :] == [
        "model", "model/g.onnx.group", "model/g.onnx.group/decoder.onnx", "model/g.onnx.group/encoder.onnx",
        "model/g.onnx.group/g.onnx.group.manifest.json",
    ]  # fmt: skip


@pytest.mark.skipif(bool(sysroot.impossible()), reason=sysroot.impossible() or "it is possible")
def test_the_command_line_measures_and_refuses(machine: Machine, possible: Path, command: Run, tmp_path: Path) -> None:
    def run(detail: str) -> tuple[int, str]:
        words = ("benchmark", "sum.tflite", "--target", f"{NAME}:{detail}")
        done = command(*words, cwd=tmp_path, EDGEDL_TARGETS=str(possible.parent))
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    shutil.copy(SUM.path, tmp_path / "sum.tflite")
    code, told = run("cortex-a53")
    assert code == 0, told
    assert all(word in told for word in ("instructions", "peak memory", "least budget", "20.0 MB", "counted, measured"))
    machine.goes(KILLED, dies=True)
    code, told = run("memory=16MB")
    assert (code, "needed more than 16 MB and was killed" in told) == (1, True)
    code, told = run("cortex-a5")
    assert (code, "did you mean 'cortex-a53'?" in told) == (2, True)


def test_nothing_but_edgedl_s_errors_comes_out(machine: Machine) -> None:
    machine.goes("\0\xff garbage", dies=True)
    with pytest.raises(EdgedlError, match="the guest did not start"):
        find(NAME).session(SUM)
