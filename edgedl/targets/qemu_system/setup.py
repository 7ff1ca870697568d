"""The set-up of qemu-aarch64-system: that of qemu-aarch64, and beside it Debian's kernel for virtual ARM64 machines and busybox.

Nothing of the sysroot is copied. The parts get their place by one rename, after a model has run on the booted kernel.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgedl.errors import Unavailable
from edgedl.files import make_folder, publish, sha256, staging, write_atomic
from edgedl.targets import state
from edgedl.targets.downloads import Downloads, run
from edgedl.targets.qemu import sysroot
from edgedl.targets.qemu.downloads import MIRROR, packages
from edgedl.targets.qemu.guests import QEMU_AARCH64
from edgedl.targets.qemu_system.command import PROGRAM
from edgedl.targets.qemu_system.device import NAME
from edgedl.targets.target import Status, Watch

MODULES = ("virtio", "virtio_ring", "virtio_mmio", "virtio_console")
"""of the kernel, in the order in which they need each other: the channel to the worker"""
_NEWEST = "linux-image-cloud-arm64:arm64"
"""the package that requires Debian's present kernel"""
_BUSYBOX = "busybox-static:arm64"


@dataclass(frozen=True)
class Boot:
    """The folder of one set-up, whole or not there."""

    folder: Path

    @property
    def ready(self) -> Path:
        return self.folder / "boot"

    @property
    def kernel(self) -> Path:
        return self.ready / "vmlinuz"

    @property
    def busybox(self) -> Path:
        return self.ready / "busybox"

    def module(self, name: str) -> Path:
        return self.ready / f"{name}.ko"

    def parts(self) -> dict[str, str]:
        """File name -> sha256 of what is there; FileNotFoundError if something is missing."""
        return {path.name: sha256(path) for path in (self.kernel, self.busybox, *map(self.module, MODULES))}

    def whole(self) -> bool:
        """Whether the set-up ended, and every byte of it is there."""
        try:
            return bool(json.loads((self.ready / "contents.json").read_text())["parts"] == self.parts())
        except (OSError, ValueError, LookupError, TypeError):
            return False


def boot() -> Boot:
    return Boot(state.folder(NAME))


def impossible() -> str:
    """Why no set-up can be made on this machine; "" where it can."""
    if reason := sysroot.impossible():
        return reason
    return "" if shutil.which(PROGRAM) else f"it needs {PROGRAM} (apt-get install qemu-system-arm)"


def status() -> Status:
    if reason := impossible():
        return Status("impossible", reason)
    ready = boot().whole() and sysroot.sysroot(QEMU_AARCH64).contents()
    return Status("ready") if ready else Status("set-up", f"edgedl target setup {NAME}")


def check() -> None:
    """Unavailable unless a machine can be started, with the way out."""
    if reason := impossible():
        raise Unavailable(f"target {NAME!r} is not possible here: {reason}")
    if not sysroot.sysroot(QEMU_AARCH64).contents():
        raise Unavailable(f"target {NAME!r} has no sysroot: edgedl target setup {NAME}")


def setup(settings: Mapping[str, str], watch: Watch, try_out: Callable[[Boot], None]) -> None:
    """Set qemu-aarch64 up, download the kernel and busybox and boot them, unless all of it is there."""
    if reason := impossible():
        raise Unavailable(f"target {NAME!r} is not possible here: {reason}")
    sysroot.setup(QEMU_AARCH64, settings, watch)
    place = boot()
    if place.whole():
        return
    downloads = Downloads(make_folder(place.folder / "downloads"))
    mirror = settings.get("mirror", MIRROR)
    kernel = kernel_package(downloads, mirror, watch)
    (busybox,) = packages(downloads, [_BUSYBOX], mirror, watch)
    with staging(place.folder) as stage:
        build(Boot(stage), kernel, busybox, watch)
        contents = {"parts": Boot(stage).parts(), "files": downloads.recorded()}
        write_atomic(stage / "boot" / "contents.json", json.dumps(contents, indent=1).encode())
        watch("trying it out")
        try_out(Boot(stage))
        shutil.rmtree(place.ready, ignore_errors=True)
        publish(stage, place.folder)


def kernel_package(downloads: Downloads, mirror: str, watch: Watch) -> Path:
    """The kernel that is there already, else Debian's present one, whose version stands in its name."""
    if found := downloads.find("linux-image-6", "_arm64.deb"):
        return found
    (newest,) = packages(downloads, [_NEWEST], mirror, watch)
    try:
        required = run(["dpkg-deb", "-f", str(newest), "Depends"], downloads.folder, f"cannot read {newest.name}")
    finally:
        newest.unlink()  # it is asked for anew after an interruption: the mirror keeps no old kernels
    (kernel,) = packages(downloads, [f"{required.split()[0]}:arm64"], mirror, watch)
    return kernel


def build(place: Boot, kernel: Path, busybox: Path, watch: Watch) -> None:
    """The few files that are needed of both packages."""
    watch("unpacking")
    place.ready.mkdir()
    with tempfile.TemporaryDirectory(dir=place.folder, prefix=".unpacked-") as scratch:
        for deb in (kernel, busybox):
            run(["dpkg", "-x", str(deb), scratch], place.folder, f"cannot unpack {deb.name}")
        _take(Path(scratch), "boot/vmlinuz-*", place.kernel)
        _take(Path(scratch), "bin/busybox", place.busybox)
        for name in MODULES:
            _take(Path(scratch), f"lib/modules/**/{name}.ko", place.module(name))


def _take(unpacked: Path, pattern: str, target: Path) -> None:
    found = next(iter(sorted(unpacked.glob(pattern))), None)
    if found is None:
        raise Unavailable(f"Debian's packages hold no {pattern}: choose another --set mirror=URL")
    shutil.copyfile(found, target)


def remove() -> None:
    """The sysroot is that of qemu-aarch64, and stays."""
    shutil.rmtree(state.folder(NAME), ignore_errors=True)
