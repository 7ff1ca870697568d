"""The set-up of the emulated ARM64 with fake downloads: what is resumed, refused, rebuilt and removed."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedl.artifact import Artifact
from edgedl.errors import EngineFailed, Unavailable, Unsupported
from edgedl.measure import InputChoice, Plan, Subject
from edgedl.reference import TaskReference
from edgedl.targets import find, kind_of, listed, runner
from edgedl.targets.conformance import check_kind
from edgedl.targets.qemu import build, parts, sysroot, target
from edgedl.targets.qemu import downloads as downloading
from edgedl.targets.qemu.downloads import Downloads, packages, run, wheels
from edgedl.targets.qemu.guests import GUESTS, QEMU_AARCH64, QEMU_ARMHF, Guest
from edgedl.targets.target import Status

SUM = Artifact(Path(str(files("edgedl") / "models" / "sum.onnx")))
MIRROR = "http://mirror.example/debian"


def quiet(text: str) -> None:
    """Nobody watches."""


@dataclass
class Shop:
    """Stands for apt-get and pip: it writes what is asked for, and remembers that."""

    sold_out: str = ""
    asked: list[str] = field(default_factory=list)

    def run(self, command: Sequence[str], folder: Path, otherwise: str) -> str:
        if "pip" in command:
            return self.wheel(command, otherwise)
        for name in command[command.index("download") + 1 :] if "download" in command else ():
            self.package(name, folder, otherwise)
        return ""

    def package(self, name: str, folder: Path, otherwise: str) -> None:
        self.asked.append(name)
        if name == self.sold_out:
            raise Unavailable(f"{otherwise}: cut off")
        package, _, architecture = name.partition(":")
        (folder / f"{package}_1.0_{architecture}.deb").write_text(name)

    def wheel(self, command: Sequence[str], otherwise: str) -> str:
        requirement, folder = command[-1], Path(command[-2])
        self.asked.append(requirement)
        if requirement == self.sold_out:
            raise Unavailable(f"{otherwise}: cut off")
        name, _, version = requirement.partition("==")
        machine = next(word for word in command if "manylinux" in word).split("_", 3)[-1]
        path = folder / f"{name.replace('-', '_')}-{version or '2.0'}-cp311-cp311-manylinux_2_28_{machine}.whl"
        path.write_text(requirement)
        return ""


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    found = Shop()
    monkeypatch.setattr(downloading, "run", found.run)
    return found


def test_packages_are_downloaded_once(shop: Shop, tmp_path: Path) -> None:
    wanted = ["libc6:arm64", "qemu-user:amd64"]
    first = packages(Downloads(tmp_path), wanted, MIRROR, quiet)
    assert [path.read_text() for path in first] == wanted
    assert packages(Downloads(tmp_path), wanted, MIRROR, quiet) == first
    assert shop.asked == wanted
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".apt-")]


def test_only_the_missing_package_is_asked_for_again(shop: Shop, tmp_path: Path) -> None:
    packages(Downloads(tmp_path), ["libc6:arm64"], MIRROR, quiet)
    packages(Downloads(tmp_path), ["libc6:arm64", "zlib1g:arm64"], MIRROR, quiet)
    assert shop.asked == ["libc6:arm64", "zlib1g:arm64"]


@pytest.mark.parametrize("damage", [b"", b"libc6:arm6", b"LIBC6:arm64"])
def test_a_damaged_download_is_fetched_again(shop: Shop, tmp_path: Path, damage: bytes) -> None:
    (path,) = packages(Downloads(tmp_path), ["libc6:arm64"], MIRROR, quiet)
    path.write_bytes(damage)
    (again,) = packages(Downloads(tmp_path), ["libc6:arm64"], MIRROR, quiet)
    assert again.read_text() == "libc6:arm64"


@pytest.mark.parametrize("text", ["", "[", "[1]", "null"])
def test_a_damaged_list_costs_only_the_download(shop: Shop, tmp_path: Path, text: str) -> None:
    packages(Downloads(tmp_path), ["libc6:arm64"], MIRROR, quiet)
    (tmp_path / "downloads.json").write_text(text)
    assert len(packages(Downloads(tmp_path), ["libc6:arm64"], MIRROR, quiet)) == 1


def test_a_download_that_was_cut_off_leaves_nothing(shop: Shop, tmp_path: Path) -> None:
    shop.sold_out = "zlib1g:arm64"
    with pytest.raises(Unavailable, match=f"apt cannot download from {MIRROR}: cut off"):
        packages(Downloads(tmp_path), ["libc6:arm64", "zlib1g:arm64"], MIRROR, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_the_mirror_lacks_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(downloading, "run", lambda *_: "")
    with pytest.raises(Unavailable, match="has no package libc6:arm64 in bookworm: choose another --set mirror=URL"):
        packages(Downloads(tmp_path), ["libc6:arm64"], MIRROR, quiet)


def test_wheels_are_kept_one_by_one(shop: Shop, tmp_path: Path) -> None:
    shop.sold_out = "onnxruntime==9.9"
    with pytest.raises(Unavailable, match=r"pip finds no aarch64 wheel of onnxruntime==9.9 for Python 3.11"):
        wheels(Downloads(tmp_path), ["numpy", "onnxruntime==9.9"], "3.11", "aarch64", quiet)
    shop.sold_out = ""
    found = wheels(Downloads(tmp_path), ["numpy", "onnxruntime==9.9"], "3.11", "aarch64", quiet)
    assert [path.read_text() for path in found] == ["numpy", "onnxruntime==9.9"]
    assert shop.asked == ["numpy", "onnxruntime==9.9", "onnxruntime==9.9"]


def test_another_version_is_another_wheel(shop: Shop, tmp_path: Path) -> None:
    wheels(Downloads(tmp_path), ["ai-edge-litert==2.3.0"], "3.11", "aarch64", quiet)
    (path,) = wheels(Downloads(tmp_path), ["ai-edge-litert==2.3.1"], "3.11", "aarch64", quiet)
    assert path.name.startswith("ai_edge_litert-2.3.1-")


def test_a_command_that_fails_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"^cannot do it: E: no such thing$"):
        run(
            ["sh", "-c", "echo noise >&2; echo 'E: no such thing' >&2; echo tail >&2; exit 3"], tmp_path, "cannot do it"
        )
    with pytest.raises(Unavailable, match=r"^cannot do it: exit code 3$"):
        run(["sh", "-c", "exit 3"], tmp_path, "cannot do it")
    with pytest.raises(Unavailable, match="cannot start no-such-program"):
        run(["no-such-program"], tmp_path, "cannot do it")


# ---- the sysroot, with a build that only makes its folder ----


@pytest.fixture
def possible(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder that the set-up is made in."""
    monkeypatch.setenv("EDGEDL_TARGETS", str(tmp_path))
    monkeypatch.setattr(sysroot, "impossible", lambda: "")
    monkeypatch.setattr(sysroot, "build", folders_alone)
    return tmp_path / "qemu-aarch64"


def folders_alone(place: sysroot.Sysroot, made: Collection[str], *_: object) -> None:
    for part in made:
        for name in parts.FOLDERS[part]:
            (place.ready / name).mkdir()


def set_up() -> None:
    kind_of("qemu-aarch64")[0].setup("", {}, quiet)


def test_what_is_not_set_up_says_how(possible: Path) -> None:
    assert kind_of("qemu-aarch64")[0].status() == Status("set-up", "edgedl target setup qemu-aarch64")
    with pytest.raises(Unavailable, match="is not set up: edgedl target setup qemu-aarch64"):
        find("qemu-aarch64:cortex-a53").session(SUM)


def test_a_set_up_is_ready_and_stays_as_it_is(possible: Path, shop: Shop) -> None:
    set_up()
    assert kind_of("qemu-aarch64")[0].status() == Status("ready")
    count = len(shop.asked)
    set_up()
    assert len(shop.asked) == count
    assert sorted(path.name for path in possible.iterdir()) == ["downloads", "sysroot"]


def test_an_interrupted_build_leaves_no_sysroot_and_resumes(
    possible: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = sysroot.build

    def interrupted(*told: Any) -> None:
        folders_alone(*told)
        raise KeyboardInterrupt

    monkeypatch.setattr(sysroot, "build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        set_up()
    assert [path.name for path in possible.iterdir()] == ["downloads"]
    count = len(shop.asked)
    monkeypatch.setattr(sysroot, "build", build)
    set_up()
    assert len(shop.asked) == count
    assert kind_of("qemu-aarch64")[0].status() == Status("ready")


def test_another_engine_version_builds_anew(possible: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up()
    monkeypatch.setattr(sysroot, "wanted_wheels", lambda guest: ["numpy", "onnxruntime==9.9"])
    set_up()
    assert shop.asked[-1] == "onnxruntime==9.9"
    assert sysroot.sysroot(QEMU_AARCH64).contents()["wheels"] == ["numpy", "onnxruntime==9.9"]


# ---- an edgedl that makes its parts from other files ----


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the files that this edgedl makes its parts from, which may be changed."""
    folder = tmp_path / "release"
    shutil.copytree(Path(parts.__file__).parent, folder)
    monkeypatch.setattr(parts, "__file__", str(folder / "parts.py"))
    return folder


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The parts of each build."""
    found: list[tuple[str, ...]] = []

    def build(place: sysroot.Sysroot, made: Collection[str], *told: object) -> None:
        found.append(tuple(made))
        folders_alone(place, made)
        assert {path.name for path in place.ready.iterdir()} >= {*itertools.chain(*parts.FOLDERS.values())}

    monkeypatch.setattr(sysroot, "build", build)
    return found


def changed(path: Path) -> None:
    path.write_text(f"{path.read_text()}\n")


@pytest.mark.parametrize("source", ["count.c", "aarch64.h"])
def test_another_counter_alone_is_compiled_anew(
    possible: Path, release: Path, built: list[tuple[str, ...]], shop: Shop, source: str
) -> None:
    set_up()
    (possible / "sysroot/root/kept").touch()
    count = len(shop.asked)
    changed(release / source)
    assert kind_of("qemu-aarch64")[0].status() == Status("set-up", "edgedl target setup qemu-aarch64")
    said = r"was set up by another edgedl, and this one makes its instruction counter otherwise: edgedl target setup qemu-aarch64$"
    with pytest.raises(Unavailable, match=said):
        find("qemu-aarch64:cortex-a53").session(SUM)
    set_up()
    assert (built[1:], len(shop.asked)) == ([(parts.COUNTER,)], count)
    assert kind_of("qemu-aarch64")[0].status() == Status("ready")
    assert (possible / "sysroot/root/kept").exists()
    assert not [path for path in (possible / "sysroot").iterdir() if path.is_symlink()]
    set_up()
    assert len(built) == 2


def test_other_code_that_builds_builds_all_from_the_downloads(
    possible: Path, release: Path, built: list[tuple[str, ...]], shop: Shop
) -> None:
    set_up()
    count = len(shop.asked)
    changed(release / "build.py")
    set_up()
    assert (built[1:], len(shop.asked)) == ([tuple(parts.FOLDERS)], count)


def test_another_core_is_made_with_the_others(
    possible: Path, built: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = replace(QEMU_AARCH64, cores=QEMU_AARCH64.cores[:2])
    sysroot.setup(guest, {}, quiet)
    set_up()
    assert built[1:] == [(parts.CORES,)]


@pytest.mark.parametrize("marker", ['{"wheels": []}', "[1]", '{"made_from": 1}', '{"made_from": {"cores": 1}}', ""])
def test_a_marker_that_does_not_tell_is_of_another_edgedl(
    possible: Path, built: list[tuple[str, ...]], shop: Shop, marker: str
) -> None:
    set_up()
    count = len(shop.asked)
    (possible / "sysroot/contents.json").write_text(marker)
    assert kind_of("qemu-aarch64")[0].status().state == "set-up"
    set_up()
    assert (len(built), len(shop.asked)) == (2, count)
    assert kind_of("qemu-aarch64")[0].status() == Status("ready")


def test_the_packages_of_another_release_of_debian_are_not_taken(possible: Path, shop: Shop) -> None:
    sysroot.setup(replace(QEMU_AARCH64, suite="bullseye"), {}, quiet)
    count = len(shop.asked)
    set_up()
    assert len(shop.asked) == 2 * count


def test_what_is_made_anew_and_does_not_compute_leaves_what_was_there(
    possible: Path, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up()
    (possible / "sysroot/counter/old").touch()
    changed(release / "count.c")

    def broken(*told: Any) -> None:
        folders_alone(*told)
        raise Unavailable("it does not run")

    monkeypatch.setattr(sysroot, "build", broken)
    with pytest.raises(Unavailable, match="it does not run"):
        set_up()
    assert (possible / "sysroot/counter/old").exists()
    assert sysroot.sysroot(QEMU_AARCH64).stale() == [parts.COUNTER]


def test_removal_leaves_nothing(possible: Path) -> None:
    set_up()
    kind_of("qemu-aarch64")[0].remove("")
    assert not possible.exists()
    kind_of("qemu-aarch64")[0].remove("")


def test_an_impossible_machine_says_why(possible: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysroot, "impossible", lambda: "it needs cc")
    assert kind_of("qemu-aarch64")[0].status() == Status("impossible", "it needs cc")
    with pytest.raises(Unavailable, match="is not possible here: it needs cc"):
        set_up()


def test_the_wheels_are_of_the_versions_that_are_installed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    assert f"onnxruntime=={onnxruntime.__version__}" in sysroot.wanted_wheels(QEMU_AARCH64)


# ---- the target, with a guest that is this machine ----

BLOCKS = "run 1 10 4 1 2 1 0 0\\nend\\nrun 1 11 4 1 2 1 0 0\\nend\\n"


@pytest.fixture
def guest(possible: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker runs here, and its counter has written BLOCKS."""
    set_up()

    def here(place: object, core: object, counts: Path, python_path: str, *words: str) -> tuple[str, ...]:
        return ("sh", "-c", f"printf '{BLOCKS}' > {counts}; exec {sys.executable} {' '.join(words)}")

    monkeypatch.setattr(target, "guest_command", here)


def test_the_record_has_counts_parity_and_no_latency(guest: None) -> None:
    record = find("qemu-aarch64:cortex-a53").measure(
        [Subject("sum", SUM)], InputChoice([Subject("sum", SUM)]), Plan(), lambda *_: None
    )
    (found,) = record.subjects
    assert found.failure is None
    assert (found.target, found.rounds, found.first_ns) == ("qemu-aarch64:cortex-a53", (), None)
    assert {figure.name: (figure.value, figure.how) for figure in found.figures} == {
        "instructions": (40.0, "counted"), "loads and stores": (10.0, "counted"), "SIMD": (20.0, "counted"),
        "dot product": (10.0, "counted"), "int multiply": (0.0, "counted"), "float multiply-add": (0.0, "counted"),
    }  # fmt: skip
    assert found.parity
    assert found.parity.exact
    assert any("no dot product" in note for note in found.notes)
    assert any("no latency" in note for note in found.notes)


def test_several_threads_are_not_counted() -> None:
    two = Subject("sum", SUM, threads=2)
    (found,) = find("qemu-aarch64").measure([two], InputChoice([two]), Plan(), lambda *_: None).subjects
    assert found.failure
    assert found.failure.message == "instructions are counted on one thread, not on 2: leave --threads out"


def test_a_session_there_computes(guest: None) -> None:
    with find("qemu-aarch64").session(SUM) as session:
        feeds = {"a": np.array([1], np.float32), "b": np.array([2], np.float32)}
        assert session.run(feeds)["sum"].tolist() == [3.0]


def test_a_task_in_pytorch_is_refused(guest: None) -> None:
    with pytest.raises(Unsupported, match=r"runs in PyTorch, which qemu-aarch64:cortex-a76 has not"):
        find("qemu-aarch64").session(TaskReference("zoo:digits"))


def test_a_guest_that_dies_is_the_subject_s_failure(guest: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "guest_command", lambda *_: ("sh", "-c", "echo qemu: fatal >&2; exit 4"))
    record = find("qemu-aarch64").measure(
        [Subject("sum", SUM)], InputChoice([Subject("sum", SUM)]), Plan(), lambda *_: None
    )
    assert record.subjects[0].failure
    assert "ended with exit code 4: qemu: fatal" in record.subjects[0].failure.message
    with pytest.raises(EngineFailed, match="exit code 4"):
        find("qemu-aarch64").session(SUM)


def test_a_format_without_an_engine_there_is_refused(possible: Path) -> None:
    with pytest.raises(
        Unsupported,
        match=r"there is no engine for onnx files, give a \.tflite file, or use --target qemu-armhf-ort:cortex-a7",
    ):
        find("qemu-armhf").session(SUM)


@pytest.mark.parametrize(
    ("core", "ends"), [("cortex-a9", "compiled for this core"), ("cortex-a7", "an instruction that cortex-a7 lacks")]
)
def test_an_instruction_that_the_core_lacks_is_told(core: str, ends: str, tmp_path: Path) -> None:
    place = target.GuestPlace(QEMU_ARMHF, QEMU_ARMHF.core(core), tmp_path)
    said = str(place.failure(-4, "qemu: uncaught target signal 4 (Illegal instruction) - core dumped"))
    assert said.startswith(f"qemu-armhf:{core}: the engine's build executes an instruction that {core} lacks")
    assert said.endswith(ends)
    assert place.failure(1, "") is None


def test_what_debian_s_packages_link_and_install_is_in_place(tmp_path: Path) -> None:
    place = sysroot.Sysroot(tmp_path, QEMU_ARMHF)
    libraries = place.ready / "root/usr/lib/arm-linux-gnueabihf"
    for name in ("blas", "lapack"):
        (libraries / name).mkdir(parents=True)
        (libraries / name / f"lib{name}.so.3").write_text(name)
    (place.ready / "root/usr/lib/python3/dist-packages/numpy").mkdir(parents=True)
    build.settle(place)
    assert (place.ready / "root/lib/arm-linux-gnueabihf").is_dir(), "/lib is there although no package has it"
    assert (libraries / "libblas.so.3").read_text() == "blas"
    assert (libraries / "liblapack.so.3").read_text() == "lapack"
    assert (place.packages / "numpy").is_dir()


@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest.name)
def test_each_system_tells_of_itself_what_a_kind_does(guest: Guest, possible: Path) -> None:
    check_kind(kind_of(guest.name)[0], guest.name)
    assert all(core.name.startswith("cortex-") for core in guest.cores)


def test_each_release_of_debian_is_asked_for_its_own_packages(possible: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, str] = {}

    def apt(command: Sequence[str], folder: Path, otherwise: str) -> str:
        sources = next(word for word in command if word.startswith("Dir::Etc::sourcelist=")).partition("=")[2]
        for name in command[command.index("download") + 1 :] if "download" in command else ():
            asked[name] = Path(sources).read_text().split()[-2]
            (folder / f"{name.replace(':', '_1.0_')}.deb").write_text(name)
        return ""

    monkeypatch.setattr(downloading, "run", apt)
    kind_of("qemu-armhf-ort")[0].setup("", {}, quiet)
    assert {release for name, release in asked.items() if name.endswith(":armhf")} == {"trixie"}
    assert {release for name, release in asked.items() if not name.endswith(":armhf")} == {"bookworm"}
    assert {"python3-onnxruntime:armhf", "python3.13-minimal:armhf"} <= set(asked)


@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest.name)
def test_each_system_is_set_up_from_its_own_packages(guest: Guest, possible: Path, shop: Shop) -> None:
    kind_of(guest.name)[0].setup("", {}, quiet)
    assert {f"{name}:{guest.debian}" for name in guest.packages} <= set(shop.asked)
    assert [name for name in sysroot.wanted_wheels(guest) if name not in shop.asked] == []
    assert kind_of(guest.name)[0].status() == Status("ready")
    assert {status.name for status in listed() if status.status.state == "ready"} & {
        guest.name for guest in GUESTS
    } == {guest.name}


# ---- what a device is given ----


def test_the_runner_finds_its_engines_without_an_installation(tmp_path: Path) -> None:
    folder = runner.install(tmp_path)
    assert runner.install(tmp_path) == folder
    code = (
        "import edgedl.worker, edgedl.counting, edgedl.measure.environment, sys; from edgedl import registry;"
        "print(edgedl.__file__, *sorted(registry.usable_runtimes()), 'click' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    where, *engines, click = done.stdout.split()
    assert Path(where).is_relative_to(folder)
    assert {"ort", "litert"} <= set(engines)
    assert click == "False"


def test_the_runner_is_small() -> None:
    contents = runner.files()
    assert sum(map(len, contents.values())) < 1_500_000
    assert not [name for name in contents if name.startswith(("edgedl/cli/", "edgedl/zoo/"))]
