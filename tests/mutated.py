"""Manifests with one field changed."""

from __future__ import annotations

import json
from typing import Any

from edgedl.artifact import Manifest
from edgedl.errors import InvalidArtifact

Place = tuple[str | int, ...]


def places(value: Any, at: Place = ()) -> list[Place]:
    """Where each part of a JSON value is, by keys and indices."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, part in items for found in [(*at, key), *places(part, (*at, key))]]


def check_refused_or_read(manifest: Manifest, place: Place, value: Any) -> None:
    """With this value there it is refused in words, or what was read survives being written."""
    data = holder = json.loads(manifest.to_json())
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    try:
        read = Manifest.from_json(json.dumps(data), "m.json")
    except InvalidArtifact as error:
        assert str(error).startswith("m.json is not an edgedl manifest: ")
    else:
        assert Manifest.from_json(read.to_json(), "m.json") == read
