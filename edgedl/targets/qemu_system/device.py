"""What may be asked for: a core and a budget of memory."""

from __future__ import annotations

from dataclasses import dataclass

from edgedl.errors import InvalidInput, UnknownName
from edgedl.targets.limits.device_class import parse_memory
from edgedl.targets.qemu.cores import Core
from edgedl.targets.qemu.guests import QEMU_AARCH64

NAME = "qemu-aarch64-system"
EXAMPLE = f"{NAME}:cortex-a53,memory=64MB"


@dataclass(frozen=True)
class Device:
    """core: the processor. memory: bytes that the process with the model may hold, None for as many as it needs. name: as in `--target`."""

    core: Core
    memory: int | None
    name: str


def parse(detail: str) -> Device:
    """`CORE`, `memory=SIZE`, both, or nothing; UnknownName for another core or limit, InvalidInput for what makes no sense."""
    parts = detail.split(",") if detail else []
    core = QEMU_AARCH64.core(parts.pop(0) if parts and "=" not in parts[0] else "")
    memory, name = None, f"{NAME}:{core.name}"
    for part in parts:
        key, _, value = part.partition("=")
        if key != "memory":
            raise UnknownName("limit", key, ["memory"], f"(as {EXAMPLE})")
        if memory is not None:
            raise InvalidInput(f"--target {NAME}:{detail}: expected memory once, as {EXAMPLE}")
        memory, name = parse_memory(value), f"{name},{part}"
    return Device(core, memory, name)
