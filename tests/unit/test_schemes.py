from __future__ import annotations

import re

import pytest

from edgedl import registry
from edgedl.errors import UnknownName
from edgedl.schemes import SCHEMES, scheme


def test_names_follow_the_decoder() -> None:
    assert all(re.fullmatch(r"fp(16|32)|bf16|w\d+(a\d+(-dynamic)?)?", name) for name in SCHEMES)
    assert all(name == found.name for name, found in SCHEMES.items())


def test_only_static_activations_need_calibration() -> None:
    assert [s.name for s in SCHEMES.values() if s.needs_calibration] == ["w8a8", "w8a16"]


def test_narrower_schemes_have_wider_tolerances() -> None:
    errors = [SCHEMES[name].tolerance.relative_rms for name in ("fp32", "fp16", "w8", "w8a8-dynamic", "w8a8")]
    assert errors == sorted(errors)


def test_unknown_scheme() -> None:
    with pytest.raises(UnknownName, match="did you mean 'w8a8-dynamic'"):
        scheme("w8a8-dynamc")


@pytest.mark.parametrize("name", sorted(registry.usable_exporters()))
def test_every_exporter_knows_only_schemes_that_there_are(name: str) -> None:
    exporter = registry.exporter(name)
    assert set(exporter.schemes) <= SCHEMES.keys() - {"fp32"}
    assert set(exporter.runtimes) <= registry.runtimes().keys()
