"""docs/record.md names every field of the documents, and no other."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from edgedl import comparison, measure
from edgedl.measure import record

PAGE = (Path(__file__).parents[2] / "docs" / "record.md").read_text()
SECTIONS = dict(re.findall(r"^## ([A-Z][a-z]+(?:[A-Z][a-z]+)*)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
DOCUMENTED = [name for name in SECTIONS if name != "Versions"]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_field_is_told(name: str) -> None:
    kind = getattr(measure, name, None) or getattr(comparison, name)
    told = re.findall(r"^\| `(\w+)` \|", SECTIONS[name], re.MULTILINE)
    assert sorted(told) == sorted(field.name for field in fields(kind))


def test_every_kind_of_field_has_a_section() -> None:
    named = set(re.findall(r"^\| `\w+` \| (?:list of )?([A-Z][a-z]\w+)(?: or null)? \|", PAGE, re.MULTILINE))
    assert named >= {"Measured", "Round", "Layer", "Estimate"}
    assert named <= set(DOCUMENTED)


def test_the_versions_are_told() -> None:
    assert f"| `schema_version` | whole number | {record.SCHEMA_VERSION} |" in SECTIONS["BenchmarkRecord"]
    assert f"| `kind` | text | `{record.KIND}` |" in SECTIONS["BenchmarkRecord"]
    told = f"Its `kind` is `{comparison.KIND}`, its `schema_version` {comparison.SCHEMA_VERSION}."
    assert told in SECTIONS["Comparison"]
