"""Names from documents are data: one path component, or refused."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl.util.file_name import MAX_BYTES, checked_file_name


@pytest.mark.parametrize("name", ["digits", "net.v2", "My net (2)", "größe", "模型", "a@b+c=d,e", "x" * MAX_BYTES])
def test_names_that_people_give(name: str) -> None:
    assert checked_file_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", "C:x", "a\0b", "a\nb", ".hidden", "-rf", "~root", " a", "a ",
        "a.", "NUL", "con.txt", "x" * (MAX_BYTES + 1), "a\u202eb", "\ud800", None, 3, ["a"], b"a",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere(name: Any) -> None:
    with pytest.raises(ValueError, match="is no file name"):
        checked_file_name(name)


@given(st.text() | st.text(alphabet="./\\:-~ ab\0", max_size=12))
def test_whatever_is_accepted_stays_in_its_folder(name: str) -> None:
    try:
        checked_file_name(name)
    except ValueError:
        return
    assert (Path("/out") / f"{name}.onnx").parent == Path("/out")
    for kind in (PurePosixPath, PureWindowsPath):
        assert kind(name).name == name and not kind(name).is_absolute()
