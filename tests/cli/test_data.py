"""Data sets that are altered, cut short, half there or nowhere: a sentence each, and nothing is trained on them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Run
from edgedl.zoo._names_data import LANGUAGES

NOWHERE = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
"""A network that answers nobody."""


def names(folder: Path) -> Path:
    (folder / "names").mkdir(parents=True)
    for language in LANGUAGES:
        (folder / "names" / f"{language}.txt").write_text("Smith\n")
    return folder / "names"


def altered(folder: Path) -> None:
    names(folder)


def missing(folder: Path) -> None:
    (names(folder) / "Czech.txt").unlink()


def cut(folder: Path) -> None:
    (names(folder) / "Czech.txt").unlink()
    (folder / "names" / "Czech.txt.gz").write_bytes(gzip.compress(b"Smith\n" * 99)[:20])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (altered, "does not hold the names that edgedl knows (18 files, checksum "),
        (missing, "does not hold the names that edgedl knows (17 files, checksum "),
        (cut, "Czech.txt.gz cannot be read: Compressed file ended before"),
    ],
)
def test_a_folder_with_other_files(
    quick_command: Run, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(tmp_path / "data")
    done = quick_command("train", "zoo:names_rnn", "--data", "data", "-o", "out", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list((tmp_path / "out").glob("*"))


def test_a_cache_that_holds_half_a_data_set_is_not_trusted(quick_command: Run, tmp_path: Path) -> None:
    names(tmp_path / "cache" / "edgedl")
    done = quick_command("train", "zoo:names_rnn", "-o", "out", cwd=tmp_path, XDG_CACHE_HOME="cache", **NOWHERE)
    assert done.returncode == 2, done.stderr
    assert "remove it to download them anew" in done.stderr


def test_no_network_and_no_folder(quick_command: Run, tmp_path: Path) -> None:
    done = quick_command(
        "train", "zoo:names_rnn", "-o", "out", cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "c"), **NOWHERE
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("edgedl: the data set names is not in ")
    assert "give a folder that holds names/Arabic.txt with --data DIR or EDGEDL_DATA" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.rglob("*"))
