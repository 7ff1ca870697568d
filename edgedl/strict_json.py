"""JSON as the standard has it, a number that is not finite is null; and the documents that edgedl itself writes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from edgedl.errors import InvalidInput


def dumps(value: Any) -> str:
    """Indented JSON text of dictionaries, lists, tuples, strings and numbers."""
    return json.dumps(_finite(value), indent=2, allow_nan=False)


def document(text: str, source: str, what: str, kind: str, version: int, remedy: str = "") -> dict[str, Any]:
    """The fields of one of edgedl's own JSON documents; InvalidInput, naming `source`, if the text is not `what` of this version."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{source} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise InvalidInput(f"{source} is not a {what} (a {type(data).__name__}, expected kind {kind!r})")
    if data.get("kind") != kind:
        raise InvalidInput(f"{source} is not a {what} (kind {data.get('kind')!r}, expected {kind!r})")
    if (found := data.get("schema_version")) != version:
        raise InvalidInput(f"{source} has schema version {found!r}, expected {version}{remedy}")
    return data


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value
