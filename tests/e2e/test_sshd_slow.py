"""A board behind Debian's own sshd on 127.0.0.1, with its own configuration, and engines from the package index."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from conftest import Run

SSHD = "/usr/sbin/sshd"
MODELS = Path(str(files("edgedl") / "models"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path(SSHD).is_file(), reason="there is no sshd here")]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """(folder, target); the home of the board is `home` in the folder, whoever runs the server."""
    folder, port = tmp_path_factory.mktemp("sshd"), free_port()
    (folder / "home").mkdir()
    keygen(folder / "host")
    keygen(folder / "id")
    shutil.copy(folder / "id.pub", folder / "authorized_keys")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    home = folder / "home"
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
        f"PidFile {folder}/pid\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n"
        f'ForceCommand cd {home} && HOME={home} exec sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    (folder / "ssh_config").write_text(
        f"IdentityFile {folder}/id\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {folder}/known_hosts\n"
        "GlobalKnownHostsFile /dev/null\n"
    )
    with subprocess.Popen([SSHD, "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "log")]) as server:
        try:
            know(folder, port)
            yield folder, f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
        finally:
            server.terminate()


def know(folder: Path, port: int) -> None:
    """What edgedl tells to do, as soon as the server answers."""
    for _ in range(100):
        found = subprocess.run(["ssh-keyscan", "-p", str(port), "127.0.0.1"], capture_output=True, text=True).stdout
        if found:
            (folder / "known_hosts").write_text(found)
            return
        time.sleep(0.1)
    pytest.fail((folder / "log").read_text())


def test_the_whole_journey(served: tuple[Path, str], command: Run) -> None:
    """Both engines from the index, a measurement in both, and nothing left."""
    folder, target = served

    def run(*words: str) -> str:
        done = command(*words, cwd=folder, EDGEDL_SSH_CONFIG=str(folder / "ssh_config"))
        assert done.returncode == 0, done.stderr
        return done.stdout

    for engine in ("ort", "litert"):
        assert f"{target} is ready" in run("target", "setup", target, "--set", f"engine={engine}")
    models = [str(MODELS / f"sum.{fmt}") for fmt in ("onnx", "tflite")]
    record = json.loads(run("benchmark", *models, "--target", target, "--seconds", "0.2", "--json"))
    assert [s["engine"].split()[0] for s in record["subjects"]] == ["onnxruntime", "ai-edge-litert"]
    assert all(s["target"] == target and len(s["rounds"]) == 20 for s in record["subjects"])
    assert "torch" not in record["subjects"][0]["machine"]["packages"]
    run("target", "remove", target)
    assert not (folder / "home" / ".edgedl").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted by root")
def test_a_small_disk_is_full_in_the_middle_of_the_set_up(served: tuple[Path, str], command: Run) -> None:
    """pip runs out of it; nothing is left, so that there is room again."""
    folder, target = served
    home = folder / "home"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", str(home)], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        done = command("target", "setup", target, cwd=folder, EDGEDL_SSH_CONFIG=str(folder / "ssh_config"))
        assert done.returncode == 3
        assert done.stderr.strip() == (
            f"edgedl: {target}: the disk there is full (No space left on device): make room and try again"
        )
        assert not (home / ".edgedl").exists()
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)
