"""The command line of the emulated machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edgedl.targets.qemu.cores import Core
from edgedl.targets.qemu_system import owned

PROGRAM = "qemu-system-aarch64"
DEFAULT_BUDGET = 2 << 30
"""bytes that a process may hold where no limit was asked for"""
_KERNEL_NEEDS = 256 << 20
"""bytes beside the file system and the budget, of which the kernel takes a fifth"""


def guest_memory(archive: int, budget: int) -> int:
    """Bytes of the machine: the archive twice, as it is unpacked beside itself, and the budget with the kernel's list of its pages."""
    return 2 * archive + budget + budget // 32 + _KERNEL_NEEDS


def machine_command(core: Core, kernel: Path, archive: Path, console: Path, memory: int) -> tuple[str, ...]:
    """`archive`: the initramfs. console: the file that the kernel and init write to. memory: bytes.

    One instruction takes one nanosecond of the guest's time, which stands still while it waits for the host: a clock in the guest
    counts instructions. Addresses and seeds are fixed, and the kernel does not put pages together to huge ones when it finds the time:
    that makes counts and memory the same from run to run. Standard input and output are one channel to the guest; it has no network,
    no disk and no folder of the host's.
    """
    linux = "console=ttyAMA0 panic=-1 loglevel=4 norandmaps transparent_hugepage=never"
    return (
        sys.executable, "-I", owned.__file__, str(os.getpid()),
        PROGRAM, "-M", "virt", "-cpu", core.name, "-accel", "tcg", "-icount", "shift=0,sleep=off", "-seed", "1",
        "-m", f"{-(-memory // (1 << 20))}M", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-kernel", str(kernel), "-initrd", str(archive), "-append", linux,
        "-chardev", f"file,id=console,path={_escaped(console)}", "-serial", "chardev:console",
        "-device", "virtio-serial-device", "-chardev", "stdio,id=worker,signal=off",
        "-device", "virtserialport,chardev=worker",
    )  # fmt: skip


def _escaped(path: Path) -> str:
    """A comma ends a value of QEMU's options unless it is doubled."""
    return str(path).replace(",", ",,")
