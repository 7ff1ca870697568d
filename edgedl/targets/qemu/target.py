"""The target: outputs and instruction counts of the engines' builds for an emulated system."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from edgedl.errors import EdgedlError, EngineFailed
from edgedl.isolated import IsolatedSession
from edgedl.measure import Figure
from edgedl.place import Launch
from edgedl.runtime import Source
from edgedl.spec import Feeds
from edgedl.targets import runner
from edgedl.targets.qemu import sysroot
from edgedl.targets.qemu.command import guest_command
from edgedl.targets.qemu.cores import FUSED, Core
from edgedl.targets.qemu.counts import TITLES, least, read
from edgedl.targets.qemu.emulated import RUNS, EmulatedTarget, runnable
from edgedl.targets.qemu.guests import QEMU_AARCH64, QEMU_ARMHF, QEMU_ARMHF_ORT, Guest
from edgedl.targets.target import Status, Target, TargetKind, Watch

_NO_LATENCY = "counted under emulation, in the engine's own code without the C library; it is no latency of a device"


class GuestPlace:
    """The place of one session: an emulated process, and the file that its instructions are counted in."""

    here = False

    def __init__(self, guest: Guest, core: Core, scratch: Path) -> None:
        self.name, self.guest, self.core, self.counts = f"{guest.name}:{core.name}", guest, core, scratch / "counts"

    @contextlib.contextmanager
    def launch(self, source: Source) -> Iterator[Launch]:
        artifact = runnable(source, self.guest, self.core, self.name)
        place = sysroot.usable(self.guest, self.name)
        path = f"{runner.install(place.folder)}:{place.packages}"
        command = guest_command(place, self.core, self.counts, path, "-m", "edgedl.counting")
        yield Launch(command, str(artifact.path.absolute()))

    def failure(self, code: int, said: str) -> EdgedlError | None:
        """An instruction that the core has not is the one thing that an emulator finds and no other machine."""
        if code != -signal.SIGILL:
            return None
        why = "" if self.core.fused_multiply else f": {FUSED}"
        return EngineFailed(f"{self.name}: the engine's build executes an instruction that {self.core.name} lacks{why}")


class QemuTarget(EmulatedTarget[GuestPlace]):
    """One core."""

    def __init__(self, guest: Guest, core: Core) -> None:
        super().__init__(f"{guest.name}:{core.name}")
        self.guest, self.core = guest, core

    def place(self, scratch: Path) -> GuestPlace:
        return GuestPlace(self.guest, self.core, scratch)

    def counted(self, session: IsolatedSession, place: GuestPlace, feeds: Feeds) -> dict[str, Any]:
        maps = session.ask("count", feeds, runs=RUNS)[0]["maps"]
        with place.counts.open() as lines:
            counts = asdict(least(read(lines, maps)))
        figures = tuple(Figure(title, float(counts[key]), "", "counted") for key, title in TITLES.items())
        return {"figures": figures, "notes": (self.core.kernels(), _NO_LATENCY)}


class QemuKind(TargetKind):
    """A system without a board."""

    guest: ClassVar[Guest]
    settings: ClassVar[Mapping[str, str]] = {"mirror": "URL of a Debian mirror"}

    def open(self, detail: str) -> Target:
        return QemuTarget(self.guest, self.guest.core(detail))

    def status(self) -> Status:
        return sysroot.status(self.guest)

    def setup(self, detail: str, settings: Mapping[str, str], watch: Watch) -> None:
        sysroot.setup(self.guest, settings, watch)

    def remove(self, detail: str) -> None:
        sysroot.remove(self.guest)


def _kind(of: Guest) -> QemuKind:
    class Kind(QemuKind):
        guest, name, example = of, of.name, f"{of.name}:{of.cores[0].name}"
        summary = (
            f"emulated {of.title}: parity and instruction counts (cortex-{', '.join(c.name[7:] for c in of.cores)})"
        )

    return Kind()


aarch64 = _kind(QEMU_AARCH64)
armhf = _kind(QEMU_ARMHF)
armhf_ort = _kind(QEMU_ARMHF_ORT)
