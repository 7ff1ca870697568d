"""Names that come from files or plugins and become part of a path."""

from __future__ import annotations

import re
from typing import Any

MAX_BYTES = 150
"""Longest name in UTF-8: most file systems allow 255 bytes, and suffixes such as `.w8a8.tflite.golden.safetensors` follow."""
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff\ud800-\udfff/\\:*?"<>|]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def checked_file_name(name: Any) -> str:
    """Return `name` if it is one path component that every system can hold.

    Args:
        name: Whatever a document or a plugin says.

    Returns:
        The name, unchanged.

    Raises:
        ValueError: For anything but a string, for separators, control characters and characters that Windows reserves,
            for names that begin with `.`, `-`, `~` or a space, end with `.` or a space, or are too long.
    """
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no file name: expected text")
    if (
        not name
        or _FORBIDDEN.search(name)
        or name[0] in ".-~ "
        or name[-1] in ". "
        or _RESERVED.fullmatch(name)
        or len(name.encode()) > MAX_BYTES
    ):
        raise ValueError(
            f"{name[:MAX_BYTES]!r} is no file name: expected one path component of at most {MAX_BYTES} bytes, "
            "with letters, digits, spaces and . _ - + = @ , ( )"
        )
    return name
