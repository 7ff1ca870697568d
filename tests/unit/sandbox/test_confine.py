"""A confined process can compute, and nothing else; every attempt is made in a process of its own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from edgedl.sandbox import landlock, seccomp

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")
needs_landlock = pytest.mark.skipif(not landlock.version(), reason="the kernel has no Landlock")
needs_seccomp = pytest.mark.skipif(platform.machine() not in seccomp._PROCESSORS, reason="no filter for this processor")

PROGRAM = """
import json, os, sys, tempfile
tempfile.tempdir = sys.argv[1]
from edgedl.sandbox.confine import Limits, confine
layers = confine(Limits(1_000_000_000, (sys.argv[2],), processes=sys.argv[3] == "processes"))
try:
    result = repr(eval(sys.argv[4]))
except (OSError, MemoryError) as error:
    result = type(error).__name__
print(json.dumps({"layers": layers, "result": result}))
"""


def attempt(folder: Path, expression: str, processes: bool = False) -> str:
    """What an expression gives, or raises, in a confined process that may read `folder/model` and write `folder/scratch`."""
    (folder / "model").mkdir(exist_ok=True)
    (folder / "scratch").mkdir(exist_ok=True)
    (folder / "model" / "weights").write_text("7")
    (folder / "secret").write_text("7")
    arguments = [str(folder / "scratch"), str(folder / "model"), "processes" if processes else "", expression]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    result: str = json.loads(done.stdout.splitlines()[-1])["result"]
    return result


@needs_landlock
@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("open('model/weights').read()", "'7'"),
        ("open('secret').read()", "PermissionError"),
        ("os.listdir('.')", "PermissionError"),
        ("open('model/weights', 'w')", "PermissionError"),
        ("os.remove('model/weights')", "PermissionError"),
        ("open('scratch/x', 'w').write('7')", "1"),
        ("os.path.exists(os.path.expanduser('~/.ssh/x'))", "False"),
        ("__import__('zoneinfo').__name__", "'zoneinfo'"),
    ],
)
def test_files(tmp_path: Path, expression: str, result: str) -> None:
    assert attempt(tmp_path, expression) == result


@needs_seccomp
@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("__import__('socket').socket()", "PermissionError"),
        ("__import__('socket').socket(__import__('socket').AF_INET6)", "PermissionError"),
        ("__import__('socket').socketpair()[0].family.name", "'AF_UNIX'"),
        ("os.fork()", "PermissionError"),
        ("__import__('subprocess').run(['true'])", "PermissionError"),
        ("os.posix_spawn('/bin/true', ['true'], {})", "PermissionError"),
        ("__import__('ctypes').CDLL(None).ptrace(0, 0, 0, 0)", "-1"),
        ("__import__('ctypes').CDLL(None).unshare(0x40000000)", "-1"),
        ("[t := __import__('threading').Thread(target=len, args=('',)), t.start(), t.join()][2]", "None"),
    ],
)
def test_system_calls(tmp_path: Path, expression: str, result: str) -> None:
    assert attempt(tmp_path, expression) == result


@needs_landlock
@needs_seccomp
def test_processes_where_they_are_needed_are_confined_too(tmp_path: Path) -> None:
    run = "__import__('subprocess').run(['cat', '{}'], capture_output=True).stdout"
    assert attempt(tmp_path, run.format("model/weights"), processes=True) == "b'7'"
    assert attempt(tmp_path, run.format("secret"), processes=True) == "b''"
    assert attempt(tmp_path, "__import__('socket').socket()", processes=True) == "PermissionError"


def test_memory(tmp_path: Path) -> None:
    assert attempt(tmp_path, "len(bytearray(100_000_000))") == "100000000"
    assert attempt(tmp_path, "len(bytearray(2_000_000_000))") == "MemoryError"


def test_a_layer_that_does_not_hold_says_so() -> None:
    """In a child, for what is given up does not come back."""
    code = (
        "from edgedl.sandbox import landlock, seccomp; from edgedl.sandbox.confine import Limits, confine; "
        "landlock.version = lambda: 0; seccomp._PROCESSORS.clear(); print(dict(confine(Limits(None))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert "'memory': 'off: no limit was asked for'" in done.stdout
    assert "'files': 'off: the kernel has no Landlock'" in done.stdout
    assert "'system calls': 'off: no filter for" in done.stdout
