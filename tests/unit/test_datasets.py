"""Data sets from a folder, the cache and a server on this machine; never from the network."""

from __future__ import annotations

import errno
import gzip
import io
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgedl import datasets
from edgedl.datasets import Dataset, read
from edgedl.errors import InvalidArtifact, OutputExists, Unavailable
from edgedl.zoo._cells_data import BCCD
from edgedl.zoo._mnist_data import MNIST
from edgedl.zoo._names_data import NAMES
from edgedl.zoo._speech_data import SPOKEN

FILES = {"one.txt": b"eins", "sub/two.txt": b"zwei"}
EMPTY = Dataset("numbers", "http://127.0.0.1:9/numbers.zip", "CC0", ("*.txt", "sub/*.txt"), "", inside="data/numbers")
Serve = Callable[..., Dataset]


def laid_out(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def archive(files: dict[str, bytes] = FILES) -> bytes:
    """As a repository's host packs it: one root folder, and more than the files of the data set."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, data in files.items():
            file.writestr(f"repo-main/data/numbers/{name}", data)
        for other in (
            "repo-main/README.txt",
            "repo-main/data/numbers/deep/er/three.txt",
            "repo-main/data/numbers/a.py",
        ):
            file.writestr(other, b"not part of it")
    return packed.getvalue()


@pytest.fixture
def numbers(tmp_path: Path) -> Dataset:
    return replace(EMPTY, sha256=EMPTY.digest(laid_out(tmp_path / "known")))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(datasets.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgedl"


@pytest.fixture
def serve(numbers: Dataset) -> Iterator[Serve]:
    """Serves a body, with a Content-Length of choice, and gives the data set that lies there."""
    servers = []

    def start(body: bytes, length: int | None = None, chunked: bool = False, status: int = 200) -> Dataset:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler(body, length, chunked, status))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return replace(numbers, url=f"http://127.0.0.1:{server.server_port}/numbers.zip")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def handler(body: bytes, length: int | None, chunked: bool, status: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header(
                *(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(length or len(body))))
            )
            self.end_headers()
            self.wfile.write(b"%x\r\n" % (2 * len(body)) if chunked else b"")
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, *words: Any) -> None:
            pass

    return Handler


def left_in(cache: Path) -> list[str]:
    return [str(path) for path in cache.rglob("*")]


def test_the_users_folder_comes_first(
    numbers: Dataset, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out(cache / "numbers", {"one.txt": b"altered"})
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path / "mine"))
    assert numbers.places()[-1] == cache / "numbers"
    laid_out(tmp_path / "mine" / "numbers")
    assert numbers.folder() == tmp_path / "mine" / "numbers"


def test_a_clone_of_the_repository_will_do(numbers: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path))
    clone = laid_out(tmp_path / "numbers" / "data" / "numbers")
    assert numbers.folder() == clone


def test_gzipped_files_are_the_same_files(numbers: Dataset, cache: Path) -> None:
    laid_out(cache / "numbers", {"one.txt.gz": gzip.compress(b"eins"), "sub/two.txt": b"zwei"})
    assert sorted(numbers.files(numbers.folder())) == ["one.txt", "sub/two.txt"]
    assert read(cache / "numbers" / "one.txt.gz") == b"eins"


def test_a_download_is_unpacked_into_the_cache_and_kept(serve: Serve, cache: Path) -> None:
    told: list[tuple[int, int]] = []
    dataset = serve(archive())
    folder = dataset.folder(lambda done, total: told.append((done, total)))
    assert folder == cache / "numbers"
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*")) == sorted(FILES)
    assert told[-1] == (len(archive()), len(archive()))
    assert list(cache.iterdir()) == [folder]
    assert replace(dataset, url="http://127.0.0.1:9/gone.zip").folder() == folder


def test_a_download_of_other_files_is_refused_and_not_kept(serve: Serve, cache: Path) -> None:
    with pytest.raises(InvalidArtifact, match=r"does not hold the numbers that edgedl knows \(checksum .*--data DIR"):
        serve(archive({**FILES, "one.txt": b"uno"})).folder()
    assert left_in(cache) == []


@pytest.mark.parametrize("chunked", [False, True])
def test_half_a_download_is_not_kept(serve: Serve, cache: Path, chunked: bool) -> None:
    body = archive()[:300]
    with pytest.raises(
        Unavailable, match=r"the connection broke( after 300 of 5,000 bytes)?\): give a folder that holds"
    ):
        serve(body, length=5000, chunked=chunked).folder()
    assert left_in(cache) == []


def test_an_interrupted_download_starts_anew(serve: Serve, cache: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    dataset = serve(archive())
    with pytest.raises(KeyboardInterrupt):
        dataset.folder(interrupt)
    assert left_in(cache) == []
    assert dataset.folder() == cache / "numbers"


def test_no_network(numbers: Dataset, cache: Path) -> None:
    with pytest.raises(
        Unavailable, match=r"numbers is not in .*cannot be downloaded.*refused.*--data DIR or EDGEDL_DATA"
    ):
        numbers.folder()
    assert left_in(cache) == []


def test_an_address_that_is_gone(serve: Serve) -> None:
    with pytest.raises(Unavailable, match=r"cannot be downloaded \(Not Found\)"):
        serve(b"", status=404).folder()


def test_an_archive_that_is_none(serve: Serve, cache: Path) -> None:
    with pytest.raises(InvalidArtifact, match=r"is not a whole zip archive .*nothing was kept"):
        serve(b"<html>please log in</html>").folder()
    assert left_in(cache) == []


def test_a_member_that_leads_out_of_the_folder_is_left_out(serve: Serve, tmp_path: Path) -> None:
    dataset = serve(archive({**FILES, "../../../../one.txt": b"out", "sub/../../two.txt": b"out"}))
    dataset.folder()
    assert not [path for path in tmp_path.rglob("*.txt") if path.read_bytes() == b"out"]


def test_a_full_disk(serve: Serve, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputExists, match=r"cannot keep the data set numbers in .*No space left on device.*XDG_CACHE"):
        serve(archive()).folder()
    assert left_in(cache) == []


def test_a_disk_that_is_full_while_the_archive_comes(
    serve: Serve, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that is always full stands for the archive."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    opened = Path.open

    def full(path: Path, *words: Any) -> Any:
        return opened(Path("/dev/full") if path.name == "archive.zip" else path, *words)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OutputExists, match=r"cannot keep the data set numbers in .*No space left on device.*XDG_CACHE"):
        serve(archive()).folder()
    assert left_in(cache) == []


def test_a_cache_that_cannot_be_one(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputExists, match=r"cannot make the folder .*file/edgedl.*; XDG_CACHE_HOME moves the cache$"):
        serve(archive()).folder()


@pytest.mark.parametrize("change", ["altered", "missing", "cut short"])
def test_a_folder_with_other_files_is_refused(numbers: Dataset, cache: Path, change: str) -> None:
    folder = laid_out(cache / "numbers")
    if change == "altered":
        (folder / "one.txt").write_bytes(b"uno")
    elif change == "missing":
        shutil.rmtree(folder / "sub")
    else:
        (folder / "one.txt").unlink()
        (folder / "one.txt.gz").write_bytes(gzip.compress(b"eins")[:9])
    with pytest.raises(InvalidArtifact, match=r"cannot be read|files are missing or altered; remove it to download"):
        numbers.folder()


@pytest.mark.parametrize("dataset", [NAMES, MNIST, SPOKEN, BCCD], ids=lambda d: d.name)
def test_the_checksums_of_the_zoo(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    if not any(dataset.files(place) for place in dataset.places()):
        pytest.skip(f"{dataset.name} is not here: set {datasets.VARIABLE}")
    assert dataset.files(dataset.folder())
    assert dataset.licence
    assert dataset.url.startswith("https://")
