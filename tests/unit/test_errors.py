from __future__ import annotations

import pytest

from edgedl import errors
from edgedl.cli import EXIT_CODES


def kinds() -> list[type[errors.EdgedlError]]:
    return [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.EdgedlError)]


def test_every_class_is_drawn_in_the_tree() -> None:
    drawn = [k.__name__ for k in kinds() if k is not errors.EdgedlError]
    assert [name for name in drawn if f"─ {name} " not in (errors.__doc__ or "")] == []


@pytest.mark.parametrize("kind", kinds())
def test_every_class_has_an_exit_code(kind: type[errors.EdgedlError]) -> None:
    code = next(code for base, code in EXIT_CODES if issubclass(kind, base))
    expected = 2 if issubclass(kind, errors.InvalidInput) else 3 if issubclass(kind, errors.Unavailable) else 1
    assert code == expected


def test_unknown_name_gives_the_nearest_and_all() -> None:
    said = str(errors.UnknownName("scheme", "w8a9", ["fp16", "w8a8"], "(see there)"))
    assert said == "unknown scheme 'w8a9': expected one of fp16, w8a8; did you mean 'w8a8'? (see there)"


def test_unknown_name_without_a_near_one_or_any() -> None:
    assert str(errors.UnknownName("format", "zzz", [])) == "unknown format 'zzz': expected one of none"
