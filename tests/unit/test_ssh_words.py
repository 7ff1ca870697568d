"""What needs no server: addresses, what ssh says, and the board's half of a conversation in a home of its own."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl.artifact import Artifact
from edgedl.errors import InvalidInput, Unavailable, Unreachable
from edgedl.targets.ssh import board
from edgedl.targets.ssh.address import Address
from edgedl.targets.ssh.client import BEGIN, Conversation, remote
from edgedl.targets.ssh.failures import explain
from edgedl.targets.ssh.files import archive, of_artifact
from edgedl.worker import celsius

PI = Address("board.local", "pi", 2222)


@pytest.mark.parametrize(
    ("detail", "found"),
    [
        ("//pi@board.local:2222", PI),
        ("//board", Address("board")),
        ("//192.168.1.7:22/", Address("192.168.1.7", None, 22)),
        ("//root@[fe80::1%eth0]:22", Address("fe80::1%eth0", "root", 22)),
    ],
)
def test_an_address_is_read(detail: str, found: Address) -> None:
    assert Address.of(detail) == found


@pytest.mark.parametrize(
    "detail",
    ["", "board", "//", "//pi@", "//-oProxyCommand=x", "//-l@h", "//a b", "//h:0", "//h:65536", "//h/path", "//h:x"],
)
def test_what_is_no_address_is_refused(detail: str) -> None:
    with pytest.raises(InvalidInput, match=r"expected ssh://user@host or ssh://user@host:port"):
        Address.of(detail)


@given(st.text(max_size=30).map("//{}".format))
def test_no_address_is_taken_for_an_option_or_a_command(detail: str) -> None:
    try:
        address = Address.of(detail)
    except InvalidInput:
        return
    assert Address.of(str(address).partition(":")[2]) == address
    assert not any(word.startswith("-") or set(word) & set(" ;$`'\"\n") for word in (address.host, address.user or "x"))


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("ssh: Could not resolve hostname board.local: Name or service not known", "no such host name"),
        ("ssh: Could not resolve hostname board.local: Temporary failure in name resolution", "its name cannot be looked up"),
        ("ssh: connect to host board.local port 2222: Connection refused", "it refuses the connection"),
        ("ssh: connect to host board.local port 2222: Connection timed out", "it does not answer"),
        ("ssh: connect to host board.local port 2222: No route to host", "it does not answer"),
        ("Connection timed out during banner exchange", "it does not answer"),
        ("Timeout, server board.local not responding.", "it does not answer"),
        ("pi@board.local: Permission denied (publickey,password).", "ssh-copy-id -p 2222 pi@board.local"),
        ("client_loop: send disconnect: Broken pipe", "the connection was cut"),
        ("kex_exchange_identification: Connection closed by remote host", "the connection was cut"),
        ("/home/me/.ssh/config: line 1: Bad configuration option: foo\n/home/me/.ssh/config: terminating, 1 bad", "configuration"),
        ("", "the connection was cut: ssh said nothing"),
        (
            "No ED25519 host key is known for [board.local]:2222 and you have requested strict checking.\r\n"
            "Host key verification failed.",
            "ssh-keyscan -p 2222 board.local >> ~/.ssh/known_hosts",
        ),
        (
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\nHost key verification failed.",
            "ssh-keygen -R '[board.local]:2222'",
        ),
    ],
)  # fmt: skip
def test_what_ssh_says_is_one_sentence_with_the_way_out(said: str, meaning: str) -> None:
    error = explain(PI, 255, said)
    told = str(error)
    assert told.startswith("ssh://pi@board.local:2222: ")
    passing = meaning.startswith(("it refuses", "it does not answer", "the connection was cut", "its name cannot"))
    assert type(error) is (Unreachable if passing else Unavailable)
    assert meaning in told
    assert "\n" not in told


def test_what_the_board_says_comes_first() -> None:
    assert str(explain(PI, 1, "noise\nedgedl-board: its Python is 3.8\n")).endswith(": its Python is 3.8")


def test_a_missing_python_is_told_apart_from_a_missing_set_up() -> None:
    assert "it has no python3.12" in str(explain(PI, 127, "sh: python3.12: not found", "python3.12"))
    assert "edgedl target setup ssh://pi@board.local:2222" in str(explain(PI, 127, "sh: not found"))


def test_the_command_is_one_line_in_any_shell() -> None:
    text = remote("python3", "bring", {"files": [], "first": True, "odd": "a'b\"c\n$d!"})
    assert "\n" not in text
    assert "!" not in text
    done = subprocess.run(["sh", "-c", text.replace("python3", sys.executable, 1)], capture_output=True, text=True)
    assert "odd" in done.stderr  # it arrived whole: the verb has no such argument


def test_an_old_python_is_told() -> None:
    source = f"import sys; sys.version_info = (3, 8, 2); {BEGIN}"
    done = subprocess.run([sys.executable, "-c", source, "x"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "edgedl-board: its Python is 3.8, 3.10 or later is needed: name another with --set python=PATH"
    )


def test_an_artifact_is_brought_with_what_belongs_to_it(tmp_path: Path) -> None:
    for name in ("a.onnx", "a.onnx.manifest.json", "a.onnx.golden.safetensors", "a.onnx.data", "b.onnx"):
        (tmp_path / name).write_text(name)
    path, brought = of_artifact(Artifact(tmp_path / "a.onnx"))
    folder = path.rpartition("/")[0]
    assert [file.name for file in brought] == [f"{folder}/a.onnx{end}" for end in ("", ".manifest.json", ".data")]
    (tmp_path / "a.onnx.data").write_text("other")
    assert of_artifact(Artifact(tmp_path / "a.onnx"))[0] != path


def test_a_group_is_brought_with_its_members(tmp_path: Path) -> None:
    folder = tmp_path / "a.onnx.group"
    folder.mkdir()
    for name in ("manifest.json", "encoder.onnx", "golden.safetensors", "encoder.onnx.golden.safetensors"):
        (folder / name).write_text(name)
    path, brought = of_artifact(Artifact(folder))
    assert [file.name for file in brought] == [f"{path}/encoder.onnx", f"{path}/manifest.json"]


# ---- the board's half ----


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The board's folder, set up with nothing in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    root = tmp_path / ".edgedl"
    root.mkdir()
    (root / "board.json").write_text('{"python": "3.11", "engines": {"ort": []}}')
    return root


DATA = bytes(range(256)) * 1000


def incoming(data: bytes = DATA, name: str = "models/x.onnx") -> board.Incoming:
    return board.Incoming(name, len(data), hashlib.sha256(data).hexdigest())


def test_a_file_is_taken_once(home: Path) -> None:
    incoming().take(io.BytesIO(DATA))
    assert (home / "models/x.onnx").read_bytes() == DATA
    incoming().take(io.BytesIO(b""))
    assert sorted(path.name for path in (home / "models").iterdir()) == ["x.onnx"]


@pytest.mark.parametrize("cut", [0, 1, 65536, 100_000, len(DATA) - 1])
def test_what_was_cut_goes_on_where_it_stopped(home: Path, cut: int) -> None:
    with pytest.raises(board.Cut):
        incoming().take(io.BytesIO(DATA[:cut]))
    assert incoming().there() == cut
    incoming().take(io.BytesIO(DATA[cut:]))
    assert (home / "models/x.onnx").read_bytes() == DATA


def test_a_damaged_file_is_refused_and_not_kept(home: Path) -> None:
    with pytest.raises(board.Refusal, match=r"x.onnx arrived damaged: try again"):
        incoming().take(io.BytesIO(DATA[::-1]))
    assert list((home / "models").iterdir()) == []


def test_too_long_a_part_of_another_file_is_found(home: Path) -> None:
    (home / "models").mkdir()
    (home / "models/x.onnx.part").write_bytes(b"x" * 2 * len(DATA))
    with pytest.raises(board.Refusal, match="damaged"):
        incoming().take(io.BytesIO(b""))
    incoming().take(io.BytesIO(DATA))
    assert (home / "models/x.onnx").read_bytes() == DATA


def test_an_archive_is_unpacked_whole(home: Path) -> None:
    packed = archive({"a/b.py": b"1", "c.py": b"2"})
    assert packed == archive({"c.py": b"2", "a/b.py": b"1"})
    incoming(packed, "runner-1.zip").take(io.BytesIO(packed))
    assert (home / "runner-1/a/b.py").read_bytes() == b"1"
    assert {path.name for path in home.iterdir()} == {"board.json", "runner-1", "runner-1.zip"}


def test_only_a_set_up_board_takes_files(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "board.json").unlink()
    board.main("bring", {"files": [{"name": "m/x", "size": 9, "sha256": "0"}], "first": False})
    first, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first, last) == ({"have": [0], "board": {}}, {"done": {}})
    assert not (home / "m").exists()


def test_two_set_ups_at_once_are_refused_and_harm_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "board.json").unlink()
    request = {
        "requirements": ["numpy"],
        "engine": "ort",
        "module": "onnxruntime",
        "environment": {},
        "local": True,
        "chosen": False,
    }
    with board.alone(home):
        board.main("setup", request)
    told = json.loads(capsys.readouterr().out)
    assert told["error"].startswith("another set-up is at work there")
    assert told["passing"]
    assert home.is_dir()


@pytest.mark.parametrize(("passing", "kind"), [(', "passing": true', Unreachable), ("", Unavailable)])
def test_a_board_that_is_busy_may_be_asked_again(passing: str, kind: type[Unavailable]) -> None:
    line = f'echo \'{{"error": "busy"{passing}}}\''
    with (
        subprocess.Popen(["sh", "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        tempfile.TemporaryFile() as log,
        pytest.raises(Unavailable, match=r"ssh://pi@board.local:2222: busy") as raised,
    ):
        list(Conversation(PI, "python3", process, log).lines(lambda _: None))
    assert raised.type is kind


def test_another_python_than_the_one_that_is_there_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "board.json").write_text('{"python": "3.9", "engines": {"ort": ["numpy"]}}')
    request = {"requirements": ["numpy"], "engine": "ort", "module": "x", "environment": {}, "local": True}
    board.main("setup", {**request, "chosen": True})
    assert "it is set up with Python 3.9, not 3." in json.loads(capsys.readouterr().out)["error"]
    board.main("setup", {**request, "chosen": False})
    assert json.loads(capsys.readouterr().out)["done"]["python"] == "3.9"


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "{}", '{"engines": []}'])
def test_a_damaged_note_is_no_set_up(home: Path, text: str) -> None:
    (home / "board.json").write_text(text)
    assert board.contents() == {}


def test_a_command_that_finds_the_disk_full_raises_that(home: Path) -> None:
    full = "import sys; sys.exit('ERROR: [Errno 28] No space left on device')"
    with pytest.raises(OSError, match="No space left"):
        board.run([sys.executable, "-c", full])
    assert board.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]).startswith("was killed there")
    said = board.run([sys.executable, "-c", "import sys; print('ERROR: a'); print('b'); sys.exit(3)"])
    assert (said, board.last(said)) == ("ERROR: a\nb", "ERROR: a")
    assert board.run([sys.executable, "-c", ""]) == ""


def test_a_command_does_not_outlive_the_connection() -> None:
    """Nor do those that it started."""
    code = (
        "from edgedl.targets.ssh import board\n"
        "try: board.run(['sh', '-c', 'sleep 60 & sleep 60'])\nexcept board.Cut: print('cut')"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.communicate(timeout=30)[0] == b"cut\n"


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("ERROR: Failed to establish a new connection: Temporary failure in name resolution", "--set wheels=DIR"),
        ("ERROR: No matching distribution found for onnxruntime==99", "pip cannot install onnxruntime there"),
        (
            "ERROR: Could not find a version that satisfies the requirement onnxruntime==1.32.0 (from versions: 1.17.0, "
            "1.23.1, 1.23.2)\nERROR: No matching distribution found for onnxruntime==1.32.0",
            "cannot have onnxruntime==1.32.0: add --set version=1.23.2, which is the newest for it",
        ),
        (
            "ERROR: Could not find a version that satisfies the requirement numpy (from versions: none)\n"
            "ERROR: No matching distribution found for numpy",
            "pip cannot install onnxruntime there: ERROR: No matching distribution found for numpy",
        ),
    ],
)
def test_what_pip_says_is_one_sentence(monkeypatch: pytest.MonkeyPatch, said: str, meaning: str) -> None:
    monkeypatch.setattr(board, "run", lambda *_: said)
    with pytest.raises(board.Refusal, match=meaning):
        board.install(Path("python"), ["onnxruntime"], [])


def test_the_hottest_zone_is_told(tmp_path: Path) -> None:
    for number, text in enumerate(["41200", "broken", "48700", "-274000", "999000"]):
        zone = tmp_path / f"thermal_zone{number}"
        zone.mkdir()
        (zone / "temp").write_text(f"{text}\n")
    assert celsius(tmp_path) == 48.7
    assert celsius(tmp_path / "none") is None
