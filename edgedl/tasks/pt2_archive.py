"""A `.pt2` archive from anywhere, copied member by member into a clean one that holds only what is known to be data.

`torch.export.load` trusts its file: it unpickles weights, constants and sample inputs, evaluates expressions and generates Python code
from names. torch's own zip reader also differs from Python's in which of two equal names it takes. So nothing of the original file
reaches torch: each member is named in the allow-list below, is checked, and is written again.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgedl.errors import InvalidReference
from edgedl.tasks.pt2_program import UnsafeProgramError, checked_program

MAX_MEMBERS = 100_000
MAX_JSON_BYTES = 256 << 20
_PAYLOAD = re.compile(r"data/(weights/weight|constants/tensor)_\d{1,6}")


def rewrite(source: Path, target: Path) -> None:
    """Write the program in `source` to `target`, without anything that could run code.

    Args:
        source: A file written by torch.export.save.
        target: The new file; its parent exists.

    Raises:
        InvalidReference: If the archive is broken, or holds anything outside the allow-list; the message names the member.
    """
    try:
        with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as clean:
            for name, info in _members(source, archive).items():
                if (data := _checked_member(source, archive, name, info)) is not None:
                    clean.writestr(zipfile.ZipInfo(f"program/{name}"), data)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError, KeyError) as error:
        raise InvalidReference(f"{source} is not a whole .pt2 file: {error}") from error


def _members(source: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Members by their name below the one root folder."""
    members: dict[str, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    infos = archive.infolist()
    roots = {info.filename.partition("/")[0] for info in infos}
    if len(infos) > MAX_MEMBERS or len(roots) != 1:
        raise InvalidReference(f"{source} is refused: expected one folder of at most {MAX_MEMBERS} members")
    for info in infos:
        name = info.filename.partition("/")[2]
        if name.casefold() in seen:
            raise InvalidReference(f"{source} is refused: it holds {name!r} twice")
        seen.add(name.casefold())
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise InvalidReference(f"{source} is refused: {name!r} is compressed, and torch.export.save stores")
        members[name] = info
    return members


def _checked_member(source: Path, archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> bytes | None:
    """The bytes to write; None for what is left out."""
    if name in _LEFT_OUT or name.startswith("extra/"):
        return None
    if _PAYLOAD.fullmatch(name):
        return archive.read(info)
    if name not in _CHECKS or info.file_size > MAX_JSON_BYTES:
        raise InvalidReference(f"{source} is refused: {name!r} is no member that edgedl knows to be plain data")
    try:
        return _CHECKS[name](archive.read(info))
    except (UnsafeProgramError, ValueError, RecursionError, TypeError, AttributeError, KeyError) as error:
        raise InvalidReference(
            f"{source} is refused, it could run code or is broken: {name}: {str(error)[:200]}; save it anew"
        ) from error


def _plain_text(pattern: str) -> Callable[[bytes], bytes]:
    def check(data: bytes) -> bytes:
        if not re.fullmatch(pattern, data.decode("ascii")):
            raise UnsafeProgramError(f"{data[:40]!r}")
        return data

    return check


def _model(data: bytes) -> bytes:
    return json.dumps(checked_program(json.loads(data))).encode()


def _payloads(data: bytes) -> bytes:
    """The table of weights or constants: tensors that lie in the archive as plain bytes."""
    table = json.loads(data)
    for name, entry in table["config"].items():
        if entry["use_pickle"] is not False or not isinstance(entry["tensor_meta"], dict):
            raise UnsafeProgramError(f"{name!r} is pickled, which can run code")
        if not re.fullmatch(r"(weight|tensor)_\d{1,6}", entry["path_name"]):
            raise UnsafeProgramError(f"{name!r} lies in {entry['path_name']!r}")
        _check_extent(name, entry["tensor_meta"])
    return json.dumps(table).encode()


def _check_extent(name: str, meta: dict[str, Any]) -> None:
    """Whole numbers that are not negative; torch holds them against the bytes that are there."""
    numbers = [*meta["sizes"], *meta["strides"], meta["storage_offset"]]
    if any(entry.keys() != {"as_int"} or type(entry["as_int"]) is not int or entry["as_int"] < 0 for entry in numbers):
        raise UnsafeProgramError(f"{name!r} has no fixed shape")


_LEFT_OUT = frozenset({".data/serialization_id"})
_CHECKS: dict[str, Callable[[bytes], bytes]] = {
    "archive_format": _plain_text("pt2"),
    "archive_version": _plain_text(r"\d{1,4}"),
    ".data/version": _plain_text(r"\d{1,4}\n?"),
    "version": _plain_text(r"\d{1,4}\n?"),
    "byteorder": _plain_text("little"),
    "models/model.json": _model,
    "data/sample_inputs/model.pt": lambda data: b"",  # a pickle, and not needed
    "data/weights/model_weights_config.json": _payloads,
    "data/constants/model_constants_config.json": _payloads,
}
