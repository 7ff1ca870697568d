from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgedl import files
from edgedl.errors import OutputExists


def test_sha256_of_more_than_one_block(tmp_path: Path) -> None:
    data = b"x" * ((1 << 20) + 7)
    (tmp_path / "f").write_bytes(data)
    assert files.sha256(tmp_path / "f") == hashlib.sha256(data).hexdigest()


def test_write_atomic_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "f"
    files.write_atomic(path, b"one")
    files.write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["f"]


def test_write_atomic_keeps_the_old_file_when_the_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputExists, match="No space left"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_write_atomic_refuses_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(OutputExists, match="cannot write"):
        files.write_atomic(tmp_path / "f", b"data")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_staging_is_removed_whatever_happens(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), files.staging(tmp_path) as folder:
        (folder / "half").write_bytes(b"x")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_of_with_the_folder_that_was_meant(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    said = f"cannot write into {tmp_path}/out: No space left on device; nothing was changed"
    with pytest.raises(OutputExists, match=said), files.staging(tmp_path / "out"):
        raise full
    elsewhere = OSError(errno.ENOSPC, "No space left on device", "/somewhere/else")
    with pytest.raises(OSError, match="/somewhere/else"), files.staging(tmp_path / "out"):
        raise elsewhere
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    code = "from pathlib import Path; import sys, edgedl.files as f; c = f.staging(Path(sys.argv[1])); print(c.__enter__(), flush=True); input()"
    words = [sys.executable, "-c", code, str(tmp_path)]
    with (
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed,
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as living,
    ):
        left, held = (Path(child.stdout.readline().strip()) for child in (killed, living) if child.stdout)
        killed.kill()
        killed.wait()
        (left / "half").touch()
        with files.staging(tmp_path):
            assert left.is_dir()  # too young to tell
        for folder in (left, held):
            os.utime(folder, (1, 1))
        with files.staging(tmp_path) as own:
            assert sorted(tmp_path.iterdir()) == sorted((own, held))
        living.kill()


def test_staging_takes_new_folders_away_unless_they_hold_something(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="late"), files.staging(tmp_path / "new" / "deep"):
        raise ValueError("late")
    assert list(tmp_path.iterdir()) == []
    with files.staging(tmp_path / "new") as folder:
        (folder / "a").touch()
        files.publish(folder, tmp_path / "new")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a"]


def test_an_output_folder_is_tried_and_not_yet_made(tmp_path: Path) -> None:
    assert files.output_folder(tmp_path / "new" / "deep") == tmp_path / "new" / "deep"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "f").touch()
    with pytest.raises(OutputExists, match="choose another -o"):
        files.output_folder(tmp_path / "f" / "below")
    assert (tmp_path / "f").is_file()


def test_publish_moves_all_and_renames(tmp_path: Path) -> None:
    with files.staging(tmp_path) as folder:
        assert folder.name.startswith(".edgedl-")
        (folder / "a").write_bytes(b"a")
        (folder / "b").write_bytes(b"b")
        files.publish(folder, tmp_path, {"a": "a.failed"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.failed", "b"]


def test_refuse_existing_names_the_file_and_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    files.refuse_existing(tmp_path / "other")
    with pytest.raises(OutputExists, match=r"f exists already.*--force"):
        files.refuse_existing(tmp_path / "other", tmp_path / "f")


def test_make_folder_under_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(OutputExists, match="choose another -o"):
        files.make_folder(tmp_path / "f" / "below")


def test_make_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(OutputExists, match="permission denied"):
        files.make_folder(tmp_path / "new")
