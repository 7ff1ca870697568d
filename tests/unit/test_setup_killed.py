"""Set-ups that are killed, as by `kill -9`, before each of their file operations: nothing half-made counts as ready."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import os
import shutil
import signal
import sys
import tarfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgedl import files
from edgedl.targets.javascript import packages
from edgedl.targets.javascript.packages import Package, Store
from edgedl.targets.qemu import downloads, parts, sysroot
from edgedl.targets.qemu.build import Material
from edgedl.targets.qemu.guests import QEMU_ARMHF

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
OPERATIONS = ("open", "os.", "shutil.", "tempfile.", "half written")


def quiet(_: object) -> None:
    """Nobody watches, and everything computes."""


def killed(work: Callable[[], object], at: int) -> bool:
    """Do `work` in a process that is killed before its file operation number `at`; False if it has not so many."""
    child = os.fork()
    if not child:
        doomed(at)
        try:
            work()
        finally:
            os._exit(0 if not sys.exc_info()[0] else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0 or os.WIFSIGNALED(status), "it failed by itself"
    return os.WIFSIGNALED(status)


def doomed(at: int) -> None:
    """Count this process's file operations from here on; a file may also be cut off in the middle."""
    numbers = itertools.count()

    def hook(event: str, _: object) -> None:
        if event.startswith(OPERATIONS) and next(numbers) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def halved(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            sys.audit("half written", None)
            return file.write(data[len(data) // 2 :])

    sys.addaudithook(hook)
    Path.write_bytes = halved  # type: ignore[method-assign, assignment]


@dataclass(frozen=True)
class Case:
    """folder: of the target. setup: makes it. there: whether it counts as ready. spoil: what makes a set-up necessary."""

    folder: Path
    setup: Callable[[], object]
    there: Callable[[], object]
    spoil: Callable[[Path], object] = shutil.rmtree

    def whole(self) -> dict[str, bytes]:
        """Name -> contents of all that is there, but for what a killed process left to be swept."""
        found = [path for path in self.folder.rglob("*") if path.is_file() and ".edgedl-" not in str(path)]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}


def archive(folder: Path, name: str) -> str:
    """The checksum of `NAME-1.0.0.tgz` as npm packs it."""
    path = folder / f"{name}-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as members:
        for file in ("a.js", "b.js"):
            member = tarfile.TarInfo(f"package/{file}")
            member.size = len(name)
            members.addfile(member, io.BytesIO(name.encode()))
    return base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def of_npm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """As web and node are set up, from made-up packages."""
    shelf = folder / "shelf"
    shelf.mkdir()

    def npm(command: Sequence[str], _: Path, otherwise: str) -> str:
        file = f"{command[2].replace('@', '-')}.tgz"
        (Path(command[command.index("--pack-destination") + 1]) / file).write_bytes((shelf / file).read_bytes())
        return ""

    monkeypatch.setattr(packages, "run", npm)
    wanted = tuple(Package(name, "1.0.0", archive(shelf, name), ("",)) for name in ("engine", "common"))
    store = Store("made-up", wanted)
    return Case(store.folder, lambda: store.setup({}, quiet, quiet), store.there)


def of_apt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """As qemu-armhf is set up, from made-up packages."""

    def shop(command: Sequence[str], into: Path, otherwise: str) -> str:
        if "pip" in command:
            (Path(command[-2]) / "tflite_runtime-2.14.0-cp311-cp311-manylinux_2_34_armv7l.whl").write_bytes(b"wheel")
        for name in command[command.index("download") + 1 :] if "apt-get" in command and "download" in command else ():
            (into / f"{name.replace(':', '_1.0_')}.deb").write_bytes(name.encode())
        return ""

    def build(place: sysroot.Sysroot, made: Collection[str], material: Material | None, _: object) -> None:
        for name in itertools.chain(*(parts.FOLDERS[part] for part in made)):
            (place.ready / name).mkdir()
        place.plugin.write_bytes(b"counter")
        for file in (material.guest[0], *material.wheels) if material else ():
            (place.ready / "root" / file.name).write_bytes(file.read_bytes())

    monkeypatch.setattr(downloads, "run", shop)
    monkeypatch.setattr(sysroot, "build", build)
    monkeypatch.setattr(sysroot, "impossible", lambda: "")
    monkeypatch.setattr(sysroot, "HOST", ("qemu-user",))
    guest = replace(QEMU_ARMHF, packages=("libc6",))
    place = sysroot.sysroot(guest)
    return Case(place.folder, lambda: sysroot.setup(guest, {}, quiet), lambda: not place.stale())


def of_cc(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """As qemu-armhf is set up where the counter alone is another edgedl's."""

    def spoil(folder: Path) -> None:
        marker, plugin = folder / "sysroot/contents.json", folder / "sysroot/counter/count.so"
        told = json.loads(marker.read_text())
        marker.write_text(json.dumps({**told, "made_from": {**told["made_from"], parts.COUNTER: "another"}}, indent=1))
        plugin.write_bytes(b"another")

    return replace(of_apt(folder, monkeypatch), spoil=spoil)


@pytest.fixture(params=[of_npm, of_apt, of_cc], ids=["web and node", "qemu", "qemu's counter"])
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    monkeypatch.setenv("EDGEDL_TARGETS", str(tmp_path / "targets"))
    monkeypatch.setattr(files, "_flush", quiet)  # for the power's failing, which is not tried here, and slow
    yield request.param(tmp_path, monkeypatch)


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_set_up_may_be_killed_at_any_time(case: Case, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case.setup()
    expected = case.whole()
    case.spoil(case.folder)
    monkeypatch.setattr(files, "GRACE", -1.0)  # nobody else is on the way to a lock
    tries, done = 0, 0
    while killed(case.setup, tries):
        if case.there():
            assert {name: data for name, data in case.whole().items() if name in expected} == expected
        case.setup()
        assert case.there()
        assert case.whole() == expected
        assert not list(case.folder.rglob(".*")), f"what was left at operation {tries} is still there"
        case.spoil(case.folder)
        tries, done = tries + step, done + 1
    assert done >= 50 // step
