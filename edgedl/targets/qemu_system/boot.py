"""What a machine boots from, and how it is made: Debian's kernel for virtual ARM64 machines, a few of its modules, and busybox.

A set-up remembers what this file was when it was made, so what only reads or checks a set-up is elsewhere.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgedl.errors import Unavailable
from edgedl.files import sha256
from edgedl.targets.downloads import Downloads, run
from edgedl.targets.qemu.downloads import packages
from edgedl.targets.target import Watch

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
    def marker(self) -> Path:
        return self.ready / "contents.json"

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
        """Whether the set-up ended, as this edgedl makes it, and every byte of it is there."""
        try:
            told = json.loads(self.marker.read_text())
            return bool(told["parts"] == self.parts() and told["made_from"] == made_from())
        except (OSError, ValueError, LookupError, TypeError):
            return False


def made_from() -> str:
    """The digest of all that this edgedl makes a set-up from, which is told here."""
    return sha256(Path(__file__))


def downloaded(downloads: Downloads, mirror: str, watch: Watch) -> tuple[Path, Path]:
    """Debian's packages of the kernel and of busybox."""
    kernel = _kernel_package(downloads, mirror, watch)
    (busybox,) = packages(downloads, [_BUSYBOX], mirror, watch)
    return kernel, busybox


def _kernel_package(downloads: Downloads, mirror: str, watch: Watch) -> Path:
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
