"""The set-up of an emulated system: one that is only a folder, made without root and removed without a trace.

Everything is unpacked beside its place and gets it by one rename, after a model has run in every engine: there is a whole
sysroot or none. Downloads outlive an interruption. An edgedl that makes a part of it otherwise finds it stale, and a set-up
makes that part anew.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgedl.errors import Unavailable
from edgedl.files import make_folder, publish, publish_folder, staging, sweep, write_atomic
from edgedl.targets import state
from edgedl.targets.downloads import Downloads
from edgedl.targets.qemu.build import Material, build
from edgedl.targets.qemu.cores import Core
from edgedl.targets.qemu.downloads import KEYRING, MIRROR, packages, wheels
from edgedl.targets.qemu.guests import HOST, Guest
from edgedl.targets.qemu.parts import FOLDERS, SYSTEM, made_from
from edgedl.targets.target import Status, Watch

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
    def marker(self) -> Path:
        return self.ready / "contents.json"

    @property
    def host(self) -> Path:
        return self.ready / "host"

    @property
    def root(self) -> Path:
        return self.ready / "root"

    @property
    def qemu(self) -> Path:
        return self.host / f"usr/bin/{self.guest.emulator}"

    @property
    def libraries(self) -> Path:
        return self.host / f"usr/lib/{platform.machine()}-linux-gnu"

    @property
    def python(self) -> Path:
        return self.root / f"usr/bin/python{self.guest.python}"

    @property
    def home(self) -> Path:
        return self.root / "usr"

    @property
    def packages(self) -> Path:
        return self.ready / "packages"

    @property
    def plugin(self) -> Path:
        return self.ready / "counter/count.so"

    def prefix(self, core: Core) -> Path:
        """What the guest sees as /: the same files for every core, and a /proc/cpuinfo of its own."""
        return self.ready / "cores" / core.name

    def contents(self) -> dict[str, object]:
        """What it was made of; {} where there is none."""
        try:
            found = json.loads(self.marker.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def stale(self) -> list[str]:
        """The parts that are not made from what this edgedl makes them from; all of them where there is no set-up."""
        made = self.contents().get("made_from")
        known = made if isinstance(made, dict) else {}
        return [part for part, wanted in made_from(self.guest).items() if known.get(part) != wanted]


def sysroot(guest: Guest) -> Sysroot:
    """Where the set-up of a guest is, or will be."""
    return Sysroot(state.folder(guest.name), guest)


def status(guest: Guest) -> Status:
    """Whether its target can be used as this edgedl makes it."""
    if reason := impossible():
        return Status("impossible", reason)
    return Status("set-up", f"edgedl target setup {guest.name}") if sysroot(guest).stale() else Status("ready")


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


def usable(guest: Guest, name: str, parts: Collection[str] = tuple(FOLDERS)) -> Sysroot:
    """The set-up; Unavailable, with the way out, where there is none, or one of `parts` is not as this edgedl makes it.

    name: of the target, as KIND:CORE, for messages.
    """
    place, remedy = sysroot(guest), f"edgedl target setup {name.partition(':')[0]}"
    if not place.contents():
        raise Unavailable(f"target {name!r} is not set up: {remedy}")
    if old := [part for part in place.stale() if part in parts]:
        raise Unavailable(
            f"target {name!r} was set up by another edgedl, and this one makes its {' and '.join(old)} otherwise: {remedy}"
        )
    return place


def setup(guest: Guest, settings: Mapping[str, str], watch: Watch) -> None:
    """Download what is missing and build the sysroot; of one with the same packages and wheels, only the parts that are stale."""
    if reason := impossible():
        raise Unavailable(f"target {guest.name!r} is not possible here: {reason}")
    place, wheel_names = sysroot(guest), wanted_wheels(guest)
    stale = place.stale()
    if SYSTEM in stale or place.contents().get("wheels") != wheel_names:
        _make(place, wheel_names, settings, watch)
    elif stale:
        _renew(place, stale, watch)
    for folder in (place.folder, place.ready, place.folder / "downloads"):
        sweep(folder)


def _make(place: Sysroot, wheel_names: list[str], settings: Mapping[str, str], watch: Watch) -> None:
    downloads = _downloads(place)
    material = _material(place.guest, downloads, wheel_names, settings.get("mirror", MIRROR), watch)
    with staging(place.folder) as stage:
        fresh = Sysroot(stage, place.guest)
        fresh.ready.mkdir()
        build(fresh, tuple(FOLDERS), material, watch)
        _mark(fresh, wheels=wheel_names, suite=place.guest.suite, files=downloads.recorded())
        shutil.rmtree(place.ready, ignore_errors=True)
        publish(stage, place.folder)


def _downloads(place: Sysroot) -> Downloads:
    """Those of another release of Debian, with which the set-up was made, are of no use."""
    folder = place.folder / "downloads"
    if place.contents().get("suite", place.guest.suite) != place.guest.suite:
        shutil.rmtree(folder, ignore_errors=True)
    return Downloads(make_folder(folder))


def _material(guest: Guest, downloads: Downloads, wheel_names: list[str], mirror: str, watch: Watch) -> Material:
    architecture = _ARCHITECTURES[platform.machine()]
    of_guest = [f"{name}:{guest.debian}" for name in guest.packages]
    of_host = [f"{name}:{architecture}" for name in HOST]
    return Material(
        packages(downloads, of_guest, mirror, watch, guest.suite),
        packages(downloads, of_host, mirror, watch),
        wheels(downloads, wheel_names, guest.python, guest.machine, watch),
    )


def _renew(place: Sysroot, parts: Collection[str], watch: Watch) -> None:
    """These parts anew, tried with the others, which are linked, before they take their places; nothing is downloaded."""
    folders = [name for part in parts for name in FOLDERS[part]]
    with staging(place.folder) as stage:
        fresh = Sysroot(stage, place.guest)
        fresh.ready.mkdir()
        for path in place.ready.iterdir():
            if path.name not in folders:
                (fresh.ready / path.name).symlink_to(path)
        build(fresh, parts, None, watch)
        _mark(place, made_from={})  # until all of them are in their places
        for name in folders:
            publish_folder(fresh.ready / name, place.ready / name)
        _mark(place)


def _mark(place: Sysroot, **told: object) -> None:
    """Write down what the set-up was made from; told: in place of what was told before."""
    contents = {**place.contents(), "made_from": made_from(place.guest), **told}
    write_atomic(place.marker, json.dumps(contents, indent=1).encode())


def remove(guest: Guest) -> None:
    """The set-up and its downloads."""
    shutil.rmtree(state.folder(guest.name), ignore_errors=True)
