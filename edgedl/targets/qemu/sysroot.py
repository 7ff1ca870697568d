"""The set-up of an emulated system: one that is only a folder, made without root and removed without a trace.

Everything is unpacked beside its place and gets it by one rename, after a model has run in every engine: there is a whole
sysroot or none. Downloads outlive an interruption.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedl.errors import Unavailable
from edgedl.files import make_folder, publish, staging, sweep, write_atomic
from edgedl.targets import state
from edgedl.targets.downloads import Downloads, run
from edgedl.targets.qemu.cores import Core
from edgedl.targets.qemu.downloads import KEYRING, MIRROR, packages, wheels
from edgedl.targets.qemu.guests import Guest
from edgedl.targets.target import Status, Watch

HOST = (
    "qemu-user", "libcapstone4", "libffi8", "libglib2.0-0", "libgmp10", "libgnutls30", "libhogweed6", "libidn2-0", "libnettle8",
    "libnuma1", "libp11-kit0", "libpcre2-8-0", "libtasn1-6", "libunistring2", "liburing2",
)  # fmt: skip
"""packages of this machine's architecture: Debian's dynamic QEMU, which alone takes plugins, and what it is linked against"""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Sysroot:
    """The folder of one set-up, whole or not there."""

    folder: Path
    guest: Guest

    @property
    def ready(self) -> Path:
        return self.folder / "sysroot"

    @property
    def qemu(self) -> Path:
        return self.ready / f"host/usr/bin/{self.guest.emulator}"

    @property
    def libraries(self) -> Path:
        return self.ready / f"host/usr/lib/{platform.machine()}-linux-gnu"

    @property
    def python(self) -> Path:
        return self.ready / f"root/usr/bin/python{self.guest.python}"

    @property
    def home(self) -> Path:
        return self.ready / "root/usr"

    @property
    def packages(self) -> Path:
        return self.ready / "packages"

    @property
    def plugin(self) -> Path:
        return self.ready / "count.so"

    def prefix(self, core: Core) -> Path:
        """What the guest sees as /: the same files for every core, and a /proc/cpuinfo of its own."""
        return self.ready / "cores" / core.name

    def contents(self) -> dict[str, object]:
        """What it was made of; {} where there is none."""
        try:
            found = json.loads((self.ready / "contents.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def sysroot(guest: Guest) -> Sysroot:
    return Sysroot(state.folder(guest.name), guest)


def status(guest: Guest) -> Status:
    if reason := impossible():
        return Status("impossible", reason)
    return Status("ready") if sysroot(guest).contents() else Status("set-up", f"edgedl target setup {guest.name}")


def impossible() -> str:
    """Why no set-up can be made on this machine; "" where it can."""
    if platform.system() != "Linux" or platform.machine() not in _ARCHITECTURES:
        return f"it needs Linux on x86-64 or ARM64, this is {platform.system()} on {platform.machine()}"
    if missing := [tool for tool in ("apt-get", "dpkg", "cc") if not shutil.which(tool)]:
        return f"it needs {', '.join(missing)} (Debian or Ubuntu, with: apt-get install gcc libc6-dev)"
    if not KEYRING.is_file():
        return f"it needs {KEYRING} (apt-get install debian-archive-keyring)"
    return ""


def wanted_wheels(guest: Guest) -> list[str]:
    """What pip downloads, the engines in the versions that are installed here."""
    return [*guest.wheels, *(f"{name}=={_version(name, default)}" for name, default in guest.engines.items())]


def _version(name: str, default: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return default


def setup(guest: Guest, settings: Mapping[str, str], watch: Watch) -> None:
    """Download what is missing and build the sysroot, unless it is there with the same versions."""
    if reason := impossible():
        raise Unavailable(f"target {guest.name!r} is not possible here: {reason}")
    place, wheel_names = sysroot(guest), wanted_wheels(guest)
    if place.contents().get("wheels") != wheel_names:
        _make(place, wheel_names, settings, watch)
    for folder in (place.folder, place.folder / "downloads"):
        sweep(folder)


def _make(place: Sysroot, wheel_names: list[str], settings: Mapping[str, str], watch: Watch) -> None:
    guest = place.guest
    downloads = Downloads(make_folder(place.folder / "downloads"))
    architecture = _ARCHITECTURES[platform.machine()]
    mirror = settings.get("mirror", MIRROR)
    debs = packages(downloads, [f"{name}:{guest.debian}" for name in guest.packages], mirror, watch, guest.suite)
    debs += packages(downloads, [f"{name}:{architecture}" for name in HOST], mirror, watch)
    whl = wheels(downloads, wheel_names, guest.python, guest.machine, watch)
    with staging(place.folder) as stage:
        build(Sysroot(stage, guest), debs, whl, watch)
        contents = {"wheels": wheel_names, "files": downloads.recorded()}
        write_atomic(stage / "sysroot" / "contents.json", json.dumps(contents, indent=1).encode())
        shutil.rmtree(place.ready, ignore_errors=True)
        publish(stage, place.folder)


def build(place: Sysroot, debs: list[Path], whl: list[Path], watch: Watch) -> None:
    """Unpack everything below `place`, compile the plugin, and compute something in the guest."""
    watch("unpacking")
    place.ready.mkdir()
    for deb in dict.fromkeys(debs):
        _unpack(deb, place)
    settle(place)
    for wheel in whl:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place.packages)
    for core in place.guest.cores:
        _prefix(place, core)
    watch("compiling the instruction counter")
    compile_plugin(place.plugin, place.guest.macros)
    watch("trying it out")
    try_out(place)


def _unpack(deb: Path, place: Sysroot) -> None:
    """Of the host's packages only the emulator and the libraries are kept."""
    guest = place.guest
    foreign = deb.name.endswith(f"_{guest.debian}.deb") and platform.machine() != guest.machine
    of_guest = foreign or any(deb.name.startswith(f"{name}_") for name in guest.packages)
    target = place.ready / ("root" if of_guest else "host")
    run(["dpkg", "-x", str(deb), str(target)], place.ready, f"cannot unpack {deb.name}")
    shutil.rmtree(target / "usr/share", ignore_errors=True)
    for program in (target / "usr/bin").glob("qemu-*"):
        if program.name != guest.emulator:
            program.unlink()


def settle(place: Sysroot) -> None:
    """What Debian's packages do when they are installed: link libraries, and have their Python modules found."""
    if not (place.ready / "root/lib").is_dir():  # since Debian 13 the packages have all of it in /usr
        (place.ready / "root/lib").symlink_to("usr/lib")
    for name, file in place.guest.links.items():
        (place.ready / "root" / name).symlink_to(file)
    modules = place.ready / "root/usr/lib/python3/dist-packages"
    if modules.is_dir():
        modules.rename(place.packages)


def _prefix(place: Sysroot, core: Core) -> None:
    prefix = place.prefix(core)
    (prefix / "proc").mkdir(parents=True)
    (prefix / "proc/cpuinfo").write_text(core.cpuinfo())
    for name in ("lib", "usr", "etc"):
        (prefix / name).symlink_to(Path("../../root") / name)


def compile_plugin(target: Path, macros: Sequence[str] = ()) -> None:
    """count.c with this machine's C compiler. macros: as `NAME`, defined for it."""
    source = Path(__file__).with_name("count.c")
    words = ["cc", "-O2", "-fPIC", "-shared", *(f"-D{name}" for name in macros), "-o", str(target), str(source)]
    run(words, target.parent, "cannot compile the instruction counter (apt-get install gcc libc6-dev)")


def try_out(place: Sysroot) -> None:
    """The guest's Python imports numpy and the engines under the plugin; Unavailable with what it said if not."""
    from edgedl.targets.qemu.command import guest_command

    counts = place.ready / "tried"
    core, code = place.guest.cores[0], f"import {', '.join(place.guest.modules)}"
    command = guest_command(place, core, counts, place.packages, "-c", code)
    run(command, place.ready, f"the emulated {place.guest.title} does not run its engines")
    counts.unlink()


def remove(guest: Guest) -> None:
    shutil.rmtree(state.folder(guest.name), ignore_errors=True)
