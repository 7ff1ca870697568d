"""The command line that runs Python in the guest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgedl.targets.qemu.cores import Core

if TYPE_CHECKING:
    from edgedl.targets.qemu.sysroot import Sysroot


def guest_command(place: Sysroot, core: Core, counts: Path, python_path: Path | str, *words: str) -> tuple[str, ...]:
    """`words` for the guest's Python. counts: the file that the instruction counter writes.

    The environment is empty but for what is named, addresses are not random and the seed of AT_RANDOM is fixed: that makes the
    counts the same from run to run. One allocator arena, for the same reason. A guest that dies
    leaves no memory image in the user's folder.
    """
    guest = {
        "PYTHONHOME": place.home, "PYTHONPATH": python_path, "PYTHONHASHSEED": 0, "PYTHONSAFEPATH": 1, "MALLOC_ARENA_MAX": 1,
        "OMP_NUM_THREADS": 1, "LANG": "C.UTF-8",
    }  # fmt: skip
    return (
        "env", "-i", f"LD_LIBRARY_PATH={place.libraries}", "PATH=/usr/bin:/bin", "prlimit", "--core=0",
        "setarch", "-R", str(place.qemu),
        "-seed", "1", "-cpu", core.name, "-L", str(place.prefix(core)), "-plugin", f"{place.plugin},out={counts}",
        "-U", "LD_LIBRARY_PATH", *(word for key, value in guest.items() for word in ("-E", f"{key}={value}")),
        str(place.python), "-s", *words,
    )  # fmt: skip
