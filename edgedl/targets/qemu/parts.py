"""The parts of a set-up, and what each is made from: an edgedl with other files than the one that made it can tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgedl.files import digest
from edgedl.targets.qemu.guests import HOST, Guest

SYSTEM, CORES, COUNTER = "system", "cores", "instruction counter"
FOLDERS: Mapping[str, tuple[str, ...]] = {
    SYSTEM: ("root", "host", "packages"), CORES: ("cores",), COUNTER: ("counter",),
}  # fmt: skip
"""part -> its folders in the set-up; CORES and COUNTER hold nothing of SYSTEM's, and links into it at the most"""


def made_from(guest: Guest) -> dict[str, str]:
    """Part -> the digest of all that this edgedl makes it from, but for the versions of wheels, which are of this machine."""
    here = Path(__file__).parent
    packages = (guest.suite, guest.debian, guest.packages, HOST, guest.emulator, sorted(guest.links.items()))
    wheels = (guest.python, guest.machine, guest.wheels, sorted(guest.engines))
    return {
        SYSTEM: digest({"lists": repr((packages, wheels)).encode(), "code": (here / "build.py").read_bytes()}),
        CORES: digest({core.name: core.cpuinfo().encode() for core in guest.cores}),
        COUNTER: digest({"macros": repr(guest.macros).encode(), **_sources(here)}),
    }


def _sources(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.[ch]")}
