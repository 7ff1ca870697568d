"""The target: instruction counts, true memory and a budget that kills."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from edgedl.errors import EdgedlError, Unavailable
from edgedl.files import staging
from edgedl.isolated import IsolatedSession
from edgedl.measure import Figure, Memory
from edgedl.place import Launch
from edgedl.runtime import Source
from edgedl.spec import Feeds
from edgedl.sum_model import check_sum, sum_file
from edgedl.targets.qemu.emulated import RUNS, EmulatedTarget, runnable
from edgedl.targets.qemu.guests import QEMU_AARCH64
from edgedl.targets.qemu_system import console, setup
from edgedl.targets.qemu_system.boot import Boot
from edgedl.targets.qemu_system.command import DEFAULT_BUDGET, PROGRAM, guest_memory, machine_command
from edgedl.targets.qemu_system.device import EXAMPLE, NAME, Device, parse
from edgedl.targets.qemu_system.image import build
from edgedl.targets.target import Status, Target, TargetKind, Watch

SETTLED = 0.02
"""seconds of the guest's time, 20 million instructions: by then the allocators have settled, and a short run needs the fewest"""
_NO_LATENCY = "instructions of a whole run of the session, with Python's, numpy's, the C library's and the kernel's; it is no latency of a device"
_LEAST = "least budget: what the kernel charged the process with at the peak, with Python and numpy"


class Machine:
    """The place of one session: an emulated machine that is booted for it."""

    here = False

    def __init__(self, device: Device, scratch: Path, boot: Boot) -> None:
        self.name, self.device, self.boot, self.console = device.name, device, boot, scratch / "console"
        self.budget = device.memory or DEFAULT_BUDGET

    @contextlib.contextmanager
    def launch(self, source: Source) -> Iterator[Launch]:
        artifact = runnable(source, QEMU_AARCH64, self.device.core, self.name)
        system = setup.usable(self.boot, self.name)
        with staging(self.boot.folder) as stage:  # what a killed process left there goes with the next session
            archive = stage / "initramfs"
            path = build(archive, artifact, system, self.boot, self.budget)
            memory = guest_memory(archive.stat().st_size, self.budget)
            yield Launch(machine_command(self.device.core, self.boot.kernel, archive, self.console, memory), path)

    def failure(self, code: int, said: str) -> EdgedlError | None:
        """code, said: of QEMU, which ends well when its guest does; below 0 it was ended here, which means what it means anywhere."""
        if code > 0:
            last = said.splitlines()[-1] if said else f"exit code {code}"
            return Unavailable(f"{self.name}: {last if last.startswith(PROGRAM) else f'{PROGRAM}: {last}'}")
        told = console.read(self.console.read_text(errors="replace") if self.console.is_file() else "")
        if code < 0:
            return None if told.started else console.too_soon(told, self.device)
        return console.explain(told, self.device, self.budget)


class SystemTarget(EmulatedTarget[Machine]):
    """One core with one budget."""

    def __init__(self, device: Device, boot: Boot | None = None) -> None:
        super().__init__(device.name)
        self.device, self._boot = device, boot

    def place(self, scratch: Path) -> Machine:
        return Machine(self.device, scratch, self._boot or setup.boot())

    def counted(self, session: IsolatedSession, place: Machine, feeds: Feeds) -> dict[str, Any]:
        session.ask("feed", {f"0/{name}": values for name, values in feeds.items()}, sets=1)
        nanoseconds = session.ask("measure", runs=1 + RUNS, seconds=SETTLED)[1]["wall_ns"]
        memory, charged = Memory(**session.ask("memory")[0]), session.ask("charged")[0]["bytes"]
        figures = (
            Figure("instructions", float(nanoseconds.min()), "", "counted"),
            Figure("peak memory", float(memory.peak), "B", "measured"),
            Figure("engine and model", float(max(memory.peak - memory.base, 0)), "B", "measured"),
            Figure("least budget", float(charged), "B", "measured"),
        )
        return {"figures": figures, "memory": memory, "notes": (self.device.core.kernels(), _NO_LATENCY, _LEAST)}


class SystemKind(TargetKind):
    """ARM64 with a Linux of its own."""

    name = NAME
    summary = f"emulated ARM64 with a Linux of its own: memory and budgets ({', '.join(core.name for core in QEMU_AARCH64.cores)})"
    example = EXAMPLE
    settings: ClassVar[Mapping[str, str]] = {"mirror": "URL of a Debian mirror"}

    def open(self, detail: str) -> Target:
        return SystemTarget(parse(detail))

    def status(self) -> Status:
        return setup.status()

    def setup(self, detail: str, settings: Mapping[str, str], watch: Watch) -> None:
        setup.setup(settings, watch, _compute)

    def remove(self, detail: str) -> None:
        setup.remove()


def _compute(boot: Boot) -> None:
    """1 + 2 = 3, there; EngineFailed if not."""
    with SystemTarget(parse(""), boot).session(sum_file("tflite")) as session:
        check_sum(session, "the emulated machine", f"edgedl target remove {NAME}, and set it up again")


kind = SystemKind()
