"""A filter of system calls: https://docs.kernel.org/userspace-api/seccomp_filter.html, in the instructions of classic BPF."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from dataclasses import dataclass

_SET_SECCOMP, _FILTER = 22, 2
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_LOCAL_SOCKETS = 1  # AF_UNIX
_THREAD = 0x00010000  # CLONE_THREAD


@dataclass(frozen=True)
class _Processor:
    """Numbers of one architecture (asm/unistd.h). limit: from which numbers belong to another interface; 0 for none."""

    architecture: int
    socket: int
    clone: int
    clone3: int
    fork: tuple[int, ...]
    refused: tuple[int, ...]
    limit: int = 0


_PROCESSORS = {
    # ptrace, process_vm_readv, process_vm_writev, mount, umount2, bpf, perf_event_open, add_key, request_key, keyctl, unshare,
    # setns, kexec_load, kexec_file_load, init_module, finit_module, delete_module, io_uring_setup, io_uring_enter,
    # io_uring_register, userfaultfd, pidfd_getfd, reboot, swapon
    "x86_64": _Processor(
        0xC000003E, 41, 56, 435, (57, 58),
        (101, 310, 311, 165, 166, 321, 298, 248, 249, 250, 272, 308, 246, 320, 175, 313, 176, 425, 426, 427, 323, 438, 169, 167),
        0x40000000,
    ),
    "aarch64": _Processor(
        0xC00000B7, 198, 220, 435, (),
        (117, 270, 271, 40, 39, 280, 241, 217, 218, 219, 97, 268, 104, 294, 105, 273, 106, 425, 426, 427, 282, 438, 142, 224),
    ),
}  # fmt: skip


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("value", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def restrict(processes: bool = False) -> str:
    """Refuse this thread, and what it starts from now on, sockets other than local ones, new processes and power over others.

    What is refused fails with EPERM, as for a user without the right; threads still start.

    Args:
        processes: Whether new processes are allowed; the filter holds for them too.

    Returns:
        What holds: `on`.

    Raises:
        OSError: On a processor that is not known here, or where the kernel refuses.
    """
    processor = _PROCESSORS.get(platform.machine())
    if processor is None:
        raise OSError(f"no filter for {platform.machine()}")
    rows = _filter(processor, processes)
    array = (_Instruction * len(rows))(*(_Instruction(*row) for row in rows))
    program = _Program(len(rows), ctypes.cast(array, ctypes.POINTER(_Instruction)))
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "on"


def _filter(processor: _Processor, processes: bool) -> list[tuple[int, int, int, int]]:
    """(code, jump if true, jump if false, value) of each instruction; the last four are the verdicts."""
    body: list[tuple[int, int, int, int]] = [(_LOAD, 0, 0, _NUMBER)]
    if processor.limit:
        body += [(_AT_LEAST, 0, 1, processor.limit), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    for number in (*processor.refused, *(() if processes else processor.fork)):
        body += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, processor.architecture),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        *body,
        *([] if processes else _threads_only(processor)),
        (_EQUAL, 0, 3, processor.socket),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_EQUAL, 1, 0, _LOCAL_SOCKETS),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _threads_only(processor: _Processor) -> list[tuple[int, int, int, int]]:
    """clone3 hides its flags from a filter; where it is said not to be there, libraries take clone."""
    return [
        (_EQUAL, 0, 1, processor.clone3),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_EQUAL, 0, 3, processor.clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 1, 0, _THREAD),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_LOAD, 0, 0, _NUMBER),
    ]
