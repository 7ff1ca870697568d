"""The set-up of qemu-aarch64-system: that of qemu-aarch64, and beside it what a machine boots from.

Nothing of the sysroot is copied. The parts get their place by one rename, after a model has run on the booted kernel.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping

from edgedl.errors import Unavailable
from edgedl.files import make_folder, publish, staging, write_atomic
from edgedl.targets import state
from edgedl.targets.downloads import Downloads
from edgedl.targets.qemu import sysroot
from edgedl.targets.qemu.downloads import MIRROR
from edgedl.targets.qemu.guests import QEMU_AARCH64
from edgedl.targets.qemu.parts import SYSTEM
from edgedl.targets.qemu_system.boot import Boot, build, downloaded, made_from
from edgedl.targets.qemu_system.command import PROGRAM
from edgedl.targets.qemu_system.device import NAME
from edgedl.targets.target import Status, Watch


def boot() -> Boot:
    """Where the set-up is, or will be."""
    return Boot(state.folder(NAME))


def impossible() -> str:
    """Why no set-up can be made on this machine; "" where it can."""
    if reason := sysroot.impossible():
        return reason
    return "" if shutil.which(PROGRAM) else f"it needs {PROGRAM} (apt-get install qemu-system-arm)"


def status() -> Status:
    """Whether the target can be used as this edgedl makes it; the counter of the shared sysroot does not matter."""
    if reason := impossible():
        return Status("impossible", reason)
    ready = boot().whole() and SYSTEM not in sysroot.sysroot(QEMU_AARCH64).stale()
    return Status("ready") if ready else Status("set-up", f"edgedl target setup {NAME}")


def usable(place: Boot, name: str) -> sysroot.Sysroot:
    """The sysroot; Unavailable, with the way out, unless a machine can be started from it and `place`. name: of the target."""
    if reason := impossible():
        raise Unavailable(f"target {name!r} is not possible here: {reason}")
    found = sysroot.usable(QEMU_AARCH64, name, [SYSTEM])
    if not place.whole():
        raise Unavailable(f"target {name!r} is not set up: edgedl target setup {NAME}")
    return found


def setup(settings: Mapping[str, str], watch: Watch, try_out: Callable[[Boot], None]) -> None:
    """Set qemu-aarch64 up, download the kernel and busybox and boot them, unless all of it is there."""
    if reason := impossible():
        raise Unavailable(f"target {NAME!r} is not possible here: {reason}")
    sysroot.setup(QEMU_AARCH64, settings, watch)
    place = boot()
    if not place.whole():
        _make(place, settings.get("mirror", MIRROR), watch, try_out)


def _make(place: Boot, mirror: str, watch: Watch, try_out: Callable[[Boot], None]) -> None:
    downloads = Downloads(make_folder(place.folder / "downloads"))
    kernel, busybox = downloaded(downloads, mirror, watch)
    with staging(place.folder) as stage:
        fresh = Boot(stage)
        build(fresh, kernel, busybox, watch)
        contents = {"made_from": made_from(), "parts": fresh.parts(), "files": downloads.recorded()}
        write_atomic(fresh.marker, json.dumps(contents, indent=1).encode())
        watch("trying it out")
        try_out(fresh)
        shutil.rmtree(place.ready, ignore_errors=True)
        publish(stage, place.folder)


def remove() -> None:
    """The sysroot is that of qemu-aarch64, and stays."""
    shutil.rmtree(state.folder(NAME), ignore_errors=True)
