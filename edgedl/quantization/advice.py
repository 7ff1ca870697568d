"""What to do instead of a scheme that is refused; nothing is suggested that would be refused in turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from edgedl.exporter import Exporter
from edgedl.schemes import SCHEMES, Scheme

_PREFERRED = ("w8a8", "w8a8-dynamic", "w8", "fp16")
_MORE_EXACT = {
    "w8a8": ("w8a8-dynamic", "w8", "fp16"),
    "w8a16": ("w8", "fp16"),
    "w8a8-dynamic": ("w8", "fp16"),
    "w4": ("w8", "fp16"),
    "w8": ("fp16",),
}
_AS_FAST_AS_FLOAT = ("w8", "fp16")


def instead_of(
    exporter: Exporter, files: Sequence[Path], scheme: Scheme, names: Sequence[str] = _PREFERRED
) -> str:  # fmt: skip
    """`; use --scheme w8a8`, or nothing where none of the names suits."""
    found = _suitable(exporter, files, (name for name in names if name != scheme.name))
    return f"; use --scheme {found[0]}" if found else ""


def for_inexact(exporter: Exporter, files: Sequence[Path], scheme: Scheme) -> str:
    """What loses less than the scheme."""
    found = _suitable(exporter, files, _MORE_EXACT.get(scheme.name, ()))
    fast = [f"--scheme {name}" for name in found if name not in _AS_FAST_AS_FLOAT][:1]
    small = [f"--scheme {name}" for name in found if name in _AS_FAST_AS_FLOAT][: 2 - len(fast)]
    size = [f"{' or '.join(small)} for the size alone"] if small else []
    return f"try {', or '.join([*fast, *size])}" if found else ""


def for_slow(exporter: Exporter, files: Sequence[Path], scheme: Scheme) -> str:
    """What to do with a file that does not pay."""
    found = _suitable(exporter, files, (name for name in _AS_FAST_AS_FLOAT if name != scheme.name))
    smaller = f", or try --scheme {found[0]} for the size alone" if found and scheme.activations != "float32" else ""
    return f"ship the float file{smaller}"


def _suitable(exporter: Exporter, files: Sequence[Path], names: Iterable[str]) -> list[str]:
    """The schemes that the format has and that nothing is known to speak against, for any of the files."""
    return [
        name
        for name in names
        if name in exporter.schemes and not any(exporter.objection(file, SCHEMES[name]) for file in files)
    ]
