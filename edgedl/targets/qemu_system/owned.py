"""The process between edgedl and QEMU: `python -I owned.py OWNER COMMAND...`, OWNER the number of edgedl's process.

A guest whose host is gone waits for it for ever, so QEMU is ended when edgedl was killed, and when this process is. Its
exit code and signal are QEMU's. It is run as a file, so it uses nothing of edgedl's.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys

POLL_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """The exit code of the command; where a signal ended it, the same signal ends this process."""
    owner, command = int(sys.argv[1]), sys.argv[2:]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    machine = subprocess.Popen(command, preexec_fn=_dies_with_this)
    for stream in (0, 1):  # they are QEMU's alone
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    code = wait(machine, owner)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _dies_with_this() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait(machine: subprocess.Popen[bytes], owner: int) -> int:
    """The exit code, below 0 for a signal."""
    while True:
        try:
            return machine.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if os.getppid() != owner:
                machine.kill()


if __name__ == "__main__":
    sys.exit(main())
