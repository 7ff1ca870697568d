"""Debian's real adb and adbd, on a network of their own: what is brought, run, read and removed goes over the real protocol.

The device is a root folder of Debian's packages with busybox as its shell. The benchmark program there is a script that prints a
published transcript: the real ones are built for Android.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

SERIAL = "10.99.0.1:5555"
"""an address beside 127.0.0.1, where adb takes port 5555 for an emulator"""
MODEL = Path(str(files("edgedl") / "models" / "sum.tflite"))
TRANSCRIPT = Path(__file__).parents[1] / "unit" / "transcripts" / "litert_percentiles.txt"
COMMANDS = ("sh", "sha256sum", "timeout", "chmod", "mv", "mkdir", "ls", "rm", "cat", "grep", "nproc", "uname", "sleep")
SCRIPT = """
set -euo pipefail
ip link set lo up
ip addr add 10.99.0.1/32 dev lo
mount -t proc none $ROOT/proc
mount --rbind /dev $ROOT/dev
chroot $ROOT /usr/lib/android-sdk/platform-tools/adbd 2> adbd.log &
sleep 1
adb nodaemon server 2> adb.log &
for _ in $(seq 50); do adb connect SERIAL | grep -q 'connected to' && break; sleep 0.2; done
for _ in $(seq 50); do adb devices | grep -q 'SERIAL.device' && break; sleep 0.2; done
edgedl target setup adb:SERIAL --set binary=benchmark_model
edgedl benchmark MODEL --target adb:SERIAL --rounds 6 --json > record.json
if edgedl benchmark MODEL.bad.tflite --target adb:SERIAL --rounds 6 2> bad.txt; then exit 9; fi
adb -s SERIAL shell 'printf "#!/bin/sh\\nexec sleep 60\\n" > /data/local/tmp/edgedl/benchmark_model'
if edgedl benchmark MODEL --target adb:SERIAL --rounds 6 --timeout 1 2> late.txt; then exit 9; fi
adb -s SERIAL shell 'ls /data/local/tmp/edgedl/models' > models.txt
edgedl target remove adb:SERIAL
adb -s SERIAL shell 'ls -a /data/local/tmp' > left.txt
"""


def possible() -> str:
    """Why not; "" where it can be tried."""
    if os.geteuid() != 0 or platform.machine() != "x86_64":
        return "it needs root on x86-64"
    if missing := [tool for tool in ("apt-get", "dpkg", "unshare", "ip", "chroot") if not shutil.which(tool)]:
        return f"it needs {', '.join(missing)}"
    allowed = subprocess.run(["unshare", "-n", "-m", "-p", "-f", "true"], capture_output=True).returncode == 0
    return "" if allowed else "no namespace can be made here"


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(possible()), reason=possible() or "it is possible")]


def download(folder: Path) -> Path:
    """Debian's packages, with apt's own check of their signatures; they are unpacked and not installed."""
    for name in ("state/lists/partial", "cache/archives/partial", "root"):
        (folder / name).mkdir(parents=True)
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (folder / "sources.list").write_text(f"deb [signed-by={keyring}] http://deb.debian.org/debian sid main\n")
    (folder / "status").touch()
    options = {
        "Dir::State": folder / "state", "Dir::State::status": folder / "status", "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list", "Dir::Etc::sourceparts": "-", "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
    }  # fmt: skip
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    install = ["--no-install-recommends", "--download-only", "-y", "install", "adb", "adbd", "busybox-static"]
    for verb in (["update"], install):
        done = subprocess.run(["apt-get", "-qq", *words, *verb], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"Debian's packages cannot be had: {done.stderr.strip()[-200:]}")
    for package in (folder / "cache/archives").glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(folder / "root")], check=True)
    return folder / "root"


def furnish(root: Path) -> None:
    for name in ("bin", "sbin", "lib", "lib64"):
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    for name in ("dev", "proc", "tmp", "data/local/tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in COMMANDS:
        if not (root / "usr/bin" / name).exists():
            (root / "usr/bin" / name).symlink_to("busybox")


def client(root: Path, folder: Path) -> None:
    """The packages' adb, in their own C library."""
    libraries = root / "usr/lib/x86_64-linux-gnu"
    adb = root / "usr/lib/android-sdk/platform-tools/adb"
    (folder / "adb").write_text(
        f'#!/bin/sh\nexec {libraries}/ld-linux-x86-64.so.2 --library-path {libraries}:{libraries}/android {adb} "$@"\n'
    )
    (folder / "adb").chmod(0o755)


def test_the_whole_journey_over_the_real_protocol(tmp_path: Path) -> None:
    root = download(tmp_path)
    furnish(root)
    client(root, tmp_path)
    told = TRANSCRIPT.read_text()
    (tmp_path / "benchmark_model").write_text(
        "#!/bin/sh\ngraph=${1#--graph=}\nif grep -q 'no model' $graph; then echo 'ERROR: no model'; exit 1; fi\n"
        f"cat <<'E'\n{told}E\n"
    )
    model = tmp_path / "sum.tflite"
    shutil.copy(MODEL, model)
    (tmp_path / "sum.tflite.bad.tflite").write_bytes(b"no model")
    environment = {
        **os.environ, "ROOT": str(root), "HOME": str(tmp_path), "ADB_MDNS": "0", "ADB_LIBUSB": "0",
        "PATH": f"{tmp_path}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    script = SCRIPT.replace("SERIAL", SERIAL).replace("MODEL", str(model))
    done = subprocess.run(
        ["unshare", "-n", "-m", "-p", "-f", "bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (subject,) = json.loads((tmp_path / "record.json").read_text())["subjects"]
    assert subject["target"] == f"adb:{SERIAL}"
    assert {figure["name"]: figure["value"] for figure in subject["figures"]}["mean run"] == pytest.approx(105784e3)
    assert subject["machine"]["memory_bytes"] > 0
    assert "took too long (--timeout)" in (tmp_path / "late.txt").read_text()
    assert "ERROR: no model (exit code 1)" in (tmp_path / "bad.txt").read_text()
    assert len((tmp_path / "models.txt").read_text().split()) == 2
    assert (tmp_path / "left.txt").read_text().split() == [".", ".."]
