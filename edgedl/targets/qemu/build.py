"""How each part of a set-up is made: the system with its engines, what each core sees as /, the instruction counter.

A set-up remembers what this file was when it was made (parts.py), so what only reads or checks a set-up is elsewhere.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgedl.targets.downloads import run
from edgedl.targets.qemu.command import guest_command
from edgedl.targets.qemu.cores import Core
from edgedl.targets.qemu.parts import CORES, COUNTER, SYSTEM
from edgedl.targets.target import Watch

if TYPE_CHECKING:
    from edgedl.targets.qemu.sysroot import Sysroot


@dataclass(frozen=True)
class Material:
    """What was downloaded. guest, host: Debian's packages of either machine. wheels: of the guest."""

    guest: Sequence[Path]
    host: Sequence[Path]
    wheels: Sequence[Path]


def build(place: Sysroot, parts: Collection[str], material: Material | None, watch: Watch) -> None:
    """Make the parts in `place.ready`, where the others are, and compute something in the guest. material: for SYSTEM."""
    if SYSTEM in parts and material:
        watch("unpacking")
        _unpack(place, material)
    if CORES in parts:
        for core in place.guest.cores:
            _prefix(place, core)
    if COUNTER in parts:
        watch("compiling the instruction counter")
        place.plugin.parent.mkdir()
        compile_plugin(place.plugin, place.guest.macros)
    watch("trying it out")
    try_out(place)


def _unpack(place: Sysroot, material: Material) -> None:
    """Of the host's packages only the emulator and the libraries are kept."""
    for debs, target in ((material.guest, place.root), (material.host, place.host)):
        for deb in debs:
            run(["dpkg", "-x", str(deb), str(target)], place.ready, f"cannot unpack {deb.name}")
        shutil.rmtree(target / "usr/share", ignore_errors=True)
    for program in (place.host / "usr/bin").glob("qemu-*"):
        if program != place.qemu:
            program.unlink()
    settle(place)
    for wheel in material.wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place.packages)


def settle(place: Sysroot) -> None:
    """What Debian's packages do when they are installed: link libraries, and have their Python modules found."""
    if not (place.root / "lib").is_dir():  # since Debian 13 the packages have all of it in /usr
        (place.root / "lib").symlink_to("usr/lib")
    for name, file in place.guest.links.items():
        (place.root / name).symlink_to(file)
    modules = place.root / "usr/lib/python3/dist-packages"
    if modules.is_dir():
        modules.rename(place.packages)


def _prefix(place: Sysroot, core: Core) -> None:
    prefix = place.prefix(core)
    (prefix / "proc").mkdir(parents=True)
    (prefix / "proc/cpuinfo").write_text(core.cpuinfo())
    for name in ("lib", "usr", "etc"):
        (prefix / name).symlink_to(Path("../../root") / name)


def compile_plugin(target: Path, macros: Sequence[str] = ()) -> None:
    """count.c with this machine's C compiler. macros: as `NAME`, defined for it. Unavailable where it does not compile."""
    source = Path(__file__).with_name("count.c")
    words = ["cc", "-O2", "-fPIC", "-shared", *(f"-D{name}" for name in macros), "-o", str(target), str(source)]
    run(words, target.parent, "cannot compile the instruction counter (apt-get install gcc libc6-dev)")


def try_out(place: Sysroot) -> None:
    """The guest's Python imports numpy and the engines under the plugin; Unavailable with what it said if not."""
    counts = place.ready / "tried"
    core, code = place.guest.cores[0], f"import {', '.join(place.guest.modules)}"
    command = guest_command(place, core, counts, place.packages, "-c", code)
    run(command, place.ready, f"the emulated {place.guest.title} does not run its engines")
    counts.unlink()
