"""Boards over a real SSH server on 127.0.0.1: what works, and every way in which it fails, one sentence each."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("asyncssh")

import asyncssh

from conftest import Run
from edgedl.artifact import Artifact
from edgedl.errors import EngineFailed, InvalidInput, Unavailable, UnknownName, Unsupported
from edgedl.measure import InputChoice, Plan, Subject
from edgedl.reference import TaskReference
from edgedl.targets import find, hold, kind_of
from edgedl.targets.conformance import check
from edgedl.targets.ssh import client
from edgedl.targets.ssh.address import CONFIG, Address
from edgedl.targets.ssh.files import Brought
from ssh_board import Board, made, wheels

MODELS = Path(str(files("edgedl") / "models"))
SUM = Artifact(MODELS / "sum.onnx")
SHORT = Plan(runs=6, seconds=0.0, rounds=6, warmup_runs=1, warmup_seconds=0.0)


def quiet(text: str) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheels(tmp_path_factory.mktemp("board") / "wheels")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, wheel_folder: Path) -> Iterator[Board]:
    """A board that is set up with both engines."""
    served = made(tmp_path_factory.mktemp("whole"))
    stop = served.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CONFIG, str(served.config))
        served.know(served.key)
        for engine in ("ort", "litert"):
            set_up(served, engine=engine, wheels=str(wheel_folder))
    yield served
    stop()


def set_up(board: Board, **settings: str) -> list[str]:
    """What it told on the way."""
    told: list[str] = []
    kind, detail = kind_of(board.target)
    kind.setup(detail, settings, told.append)
    return told


@pytest.fixture
def board(whole: Board, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    monkeypatch.setenv(CONFIG, str(whole.config))
    whole.know(whole.key)
    yield whole
    whole.prefix, whole.cut_after, whole.path = "", None, os.environ["PATH"]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """A board of which nothing is set up."""
    served = made(tmp_path)
    stop = served.start()
    monkeypatch.setenv(CONFIG, str(served.config))
    served.know(served.key)
    yield served
    stop()


def running(board: Board, word: bytes = b"") -> list[int]:
    """The processes on the board whose command has the word; all of them without one."""
    home = f"HOME={board.home}\0".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if word in (process / "cmdline").read_bytes() and home in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


def until(found: Callable[[], list[object]], seconds: float = 20) -> list[object]:
    """What there is, as soon as there is something."""
    end = time.monotonic() + seconds
    while not (there := found()) and time.monotonic() < end:
        time.sleep(0.05)
    return there


def add(board: Board) -> list[float]:
    with find(board.target).session(SUM) as session:
        result: list[float] = session.run({"a": np.array([1], np.float32), "b": np.array([2], np.float32)})[
            "sum"
        ].tolist()
        return result


# ---- what works ----


@pytest.mark.parametrize("fmt", ["onnx", "tflite"])
def test_it_keeps_the_promises_of_a_target(board: Board, fmt: str) -> None:
    check("ssh", board.target, fmt)


def test_the_record_tells_the_board(board: Board) -> None:
    subjects = [Subject("sum", SUM)]
    (found,) = find(board.target).measure(subjects, InputChoice(subjects), SHORT, lambda *_: None).subjects
    assert found.target == board.target
    assert found.engine
    assert found.engine.startswith("onnxruntime ")
    assert found.machine
    assert found.machine.packages["onnxruntime"]
    assert found.machine.system.startswith("Linux")
    assert found.machine.cpu


def test_it_computes_what_this_machine_computes(board: Board) -> None:
    assert hold(find(board.target), SUM).exact


def test_a_model_is_brought_once(board: Board) -> None:
    add(board)
    there = {path: path.stat().st_mtime_ns for path in (board.root / "models").rglob("sum.onnx")}
    add(board)
    assert {path: path.stat().st_mtime_ns for path in (board.root / "models").rglob("sum.onnx")} == there
    assert not list(board.root.rglob("*.part"))


@pytest.mark.slow
def test_the_manifest_goes_with_the_model_and_the_golden_vectors_do_not(board: Board, digits_onnx: Artifact) -> None:
    with find(board.target).session(digits_onnx) as session:
        assert session.inputs[0].shape[0] == "batch"
    names = {path.name for path in (board.root / "models").rglob("digits*")}
    assert names == {"digits.onnx", "digits.onnx.manifest.json"}


@pytest.mark.slow
def test_a_group_of_files_runs_there(board: Board, reverse_onnx: Artifact) -> None:
    with find(board.target).session(reverse_onnx) as session:
        assert session.engine.startswith("onnxruntime ")


def test_what_is_set_up_stays_as_it_is(board: Board, wheel_folder: Path) -> None:
    before = (board.root / "board.json").stat().st_mtime_ns
    assert set_up(board, engine="litert") == []
    assert (board.root / "board.json").stat().st_mtime_ns == before
    assert add(board) == [3.0]


def test_nothing_is_written_into_the_home_but_the_one_folder(board: Board) -> None:
    add(board)
    names = {path.name for path in board.root.iterdir()}
    assert {name.partition("-")[0] for name in names} == {"board.json", "lock", "models", "runner", "venv"}


def test_the_command_line_measures_there(board: Board, command: Run, tmp_path: Path) -> None:
    words = ("--target", board.target, "--seconds", "0", "--rounds", "6", "-o", "record.json")
    done = command("benchmark", str(SUM.path), *words, cwd=tmp_path, EDGEDL_SSH_CONFIG=str(board.config))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_processors_are_those_of_the_board(board: Board) -> None:
    first = min(os.sched_getaffinity(0))
    for affinity, failure in (((first,), None), ((first, 4095), f"processors {first}, 4095: expected some of {first}")):
        subjects = [Subject("sum", SUM, affinity=affinity)]
        (found,) = find(board.target).measure(subjects, InputChoice(subjects), SHORT, lambda *_: None).subjects
        assert (found.failure is None) if failure is None else found.failure and failure in found.failure.message


# ---- the connection ----


def refused(board: Board, meaning: str) -> None:
    with pytest.raises(Unavailable, match=meaning) as caught:
        add(board)
    assert str(caught.value).startswith(board.target)
    assert "\n" not in str(caught.value)


def test_an_unknown_host_key(board: Board) -> None:
    board.know(None)
    refused(board, rf"host key is not known: ssh-keyscan -p {board.port} 127.0.0.1 >> ~/.ssh/known_hosts")
    assert (board.folder / "known_hosts").read_text() == ""


def test_a_changed_host_key(board: Board) -> None:
    board.know(asyncssh.generate_private_key("ssh-ed25519"))
    refused(board, rf"not the one that is known.*ssh-keygen -R '\[127.0.0.1\]:{board.port}'")


def test_a_wrong_key(board: Board, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(tmp_path / "id"))
    (tmp_path / "id").chmod(0o600)
    config = tmp_path / "config"
    config.write_text(board.config.read_text().replace(str(board.folder / "id"), str(tmp_path / "id")))
    monkeypatch.setenv(CONFIG, str(config))
    refused(board, rf"accepts no key of yours.*ssh-copy-id -p {board.port} pi@127.0.0.1")


def test_a_refused_connection(board: Board) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="it refuses the connection"):
            find(f"ssh://pi@127.0.0.1:{taken.getsockname()[1]}").session(SUM)


def test_a_host_that_is_no_name(board: Board) -> None:
    with pytest.raises(Unavailable, match="no such host name"):
        find("ssh://pi@no-such-host.invalid").session(SUM)


def test_a_server_that_is_no_ssh_server(board: Board) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        with pytest.raises(Unavailable, match="the connection was cut"):
            find(f"ssh://pi@127.0.0.1:{server.getsockname()[1]}").session(SUM)


def test_a_board_that_says_nothing(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER", 0.5)
    board.prefix = "sleep 30; "
    refused(board, "did not answer within 0.5 s")


def test_a_shell_that_prints_before_every_command(board: Board) -> None:
    board.prefix = "echo Welcome to this board; "
    refused(board, "its login shell prints 'Welcome to this board' before every command")


def test_there_is_no_ssh(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.shutil, "which", lambda _: None)
    refused(board, "needs the ssh command")
    assert kind_of("ssh:")[0].status().state == "impossible"


# ---- the set-up ----


def test_a_board_that_is_not_set_up(bare: Board) -> None:
    refused(bare, f"edgedl target setup {bare.target}")
    assert list(bare.home.iterdir()) == []


def test_there_is_no_python(bare: Board) -> None:
    with pytest.raises(Unavailable, match=r"it has no python3.99: install it there, or name another with --set python"):
        set_up(bare, python="python3.99")
    assert list(bare.home.iterdir()) == []


def test_a_set_up_on_a_full_disk_leaves_nothing(bare: Board) -> None:
    bare.prefix = "ulimit -f 16; "
    with pytest.raises(Unavailable, match="the disk there is full"):
        set_up(bare)
    assert list(bare.home.iterdir()) == []


def test_a_set_up_that_was_cut_off_goes_on(bare: Board) -> None:
    data = os.urandom(600_000)
    bare.cut_after = 300_000
    with pytest.raises(Unavailable, match="the connection was cut"):
        client.bring(Address.of(bare.target[4:]), [Brought("a.bin", data)], quiet, "python3", first=True)
    assert until(lambda: [] if running(bare) else [True])
    there = (bare.root / "a.bin.part").stat().st_size
    assert 0 < there <= 300_000
    bare.cut_after = len(data) - there + 5000
    client.bring(Address.of(bare.target[4:]), [Brought("a.bin", data)], quiet, "python3", first=True)
    assert (bare.root / "a.bin").read_bytes() == data


def test_what_the_board_cannot_install_changes_nothing(board: Board, wheel_folder: Path) -> None:
    before = (board.root / "board.json").read_text()
    with pytest.raises(Unavailable, match=r"pip cannot install numpy<2, tflite-runtime==2.14.0 there: ERROR"):
        set_up(board, engine="tflite-runtime", wheels=str(wheel_folder))
    assert (board.root / "board.json").read_text() == before
    assert add(board) == [3.0]


def test_settings_that_mean_nothing(board: Board, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown engine 'otr'.*did you mean 'ort'"):
        set_up(board, engine="otr")
    with pytest.raises(InvalidInput, match=r"expected a folder with .whl files"):
        set_up(board, wheels=str(tmp_path))


def test_removing_leaves_nothing_and_needs_no_set_up(bare: Board) -> None:
    (bare.root / "models").mkdir(parents=True)
    kind, detail = kind_of(bare.target)
    kind.remove(detail)
    kind.remove(detail)
    assert list(bare.home.iterdir()) == []


# ---- the model ----


def test_a_full_disk(board: Board, tmp_path: Path) -> None:
    big = tmp_path / "big.onnx"
    big.write_bytes(os.urandom(200_000))
    board.prefix = "ulimit -f 64; "
    with pytest.raises(Unavailable, match="the disk there is full"):
        find(board.target).session(Artifact(big))
    assert not list(board.root.rglob("big.onnx*"))


def test_a_task_has_no_engine_there(board: Board) -> None:
    with pytest.raises(Unsupported, match="runs in PyTorch"):
        find(board.target).session(TaskReference("zoo:digits"))


def test_an_engine_that_is_missing(board: Board) -> None:
    note = board.root / "board.json"
    before = note.read_text()
    told = json.loads(before)
    note.write_text(json.dumps({**told, "engines": {"ort": told["engines"]["ort"]}}))
    with pytest.raises(Unavailable, match=rf"has ort, .* edgedl target setup {board.target} --set engine=litert"):
        find(board.target).session(Artifact(MODELS / "sum.tflite"))
    note.write_text(before)


def workers(board: Board) -> list[int]:
    """The processes on the board that hold an engine."""
    return running(board, b"edgedl.worker")


def test_a_worker_that_is_killed(board: Board) -> None:
    with find(board.target).session(SUM) as session:
        (worker,) = workers(board)
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(
            EngineFailed, match=rf"{board.target}: the engine's process was killed there \(out of memory"
        ):
            session.run({"a": np.array([1], np.float32), "b": np.array([2], np.float32)})


def test_a_connection_that_is_cut_ends_the_worker_there(board: Board) -> None:
    with find(board.target).session(SUM) as session:
        assert workers(board)
        board.cut_after = 0
        with pytest.raises(Unavailable, match="the connection was cut"):
            session.run({"a": np.array([1], np.float32), "b": np.array([2], np.float32)})
        assert until(lambda: [] if workers(board) else [True])


def test_a_subject_whose_connection_was_cut_keeps_the_reason(board: Board) -> None:
    subjects = [Subject("sum", SUM)]
    choice = InputChoice(subjects)

    def feeds(subject: Subject, specs: object) -> object:
        board.cut_after = 0
        return choice(subject, specs)  # type: ignore[arg-type]

    (found,) = find(board.target).measure(subjects, feeds, SHORT, lambda *_: None).subjects  # type: ignore[arg-type]
    assert found.failure
    assert found.failure.kind == "Unreachable"
    assert "the connection was cut" in found.failure.message


def test_the_command_line_says_it_in_one_line(board: Board, command: Run, tmp_path: Path) -> None:
    board.know(None)
    for target, code in ((board.target, 3), ("ssh://", 2)):
        done = command(
            "benchmark",
            str(SUM.path),
            "--target",
            target,
            "-o",
            "r.json",
            cwd=tmp_path,
            EDGEDL_SSH_CONFIG=str(board.config),
        )
        assert done.returncode == code, done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
