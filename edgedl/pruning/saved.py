"""A pruned model on disk: `plan.json` and `weights.safetensors` in one folder, no pickle.

{"kind": "edgedl-pruning-plan", "schema_version": 1,
 "plan": {"model": "74986-0f0c...", "method": "structured",
          "cuts": [{"module": "stem.0", "side": "out", "kept": [0, 2, ...]}, ...],
          "attributes": [{"module": "blocks.0", "name": "heads", "value": 3}, ...],
          "plain": ["stem.0", ...]}}
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from edgedl import strict_json
from edgedl.errors import InvalidInput
from edgedl.files import publish, sha256, staging
from edgedl.measure.codec import decode

if TYPE_CHECKING:
    from torch import nn

    from edgedl.pruning.plan import Plan

KIND = "edgedl-pruning-plan"
SCHEMA_VERSION = 1
PLAN, WEIGHTS = "plan.json", "weights.safetensors"
LARGEST = 64_000_000
"""Bytes of a plan file: a plan of a million channels has a tenth of that."""


def save(plan: Plan, module: nn.Module, folder: Path, suffix: str = "") -> None:
    """Write both files, whole or not at all; suffix: put before the ending, as in `plan.failed.json`."""
    from edgedl import weights

    names = {name: _named(name, suffix) for name in (PLAN, WEIGHTS)}
    with staging(folder) as stage:
        weights.save(module, stage / WEIGHTS)
        (stage / PLAN).write_text(to_json(plan))
        publish(stage, folder, names)


def forget(folder: Path, suffix: str) -> None:
    """Remove what was saved there with this suffix."""
    for name in (PLAN, WEIGHTS):
        (folder / _named(name, suffix)).unlink(missing_ok=True)


def _named(name: str, suffix: str) -> str:
    stem, ending = name.split(".")
    return f"{stem}{suffix}.{ending}"


def to_json(plan: Plan) -> str:
    return (
        json.dumps({"kind": KIND, "schema_version": SCHEMA_VERSION, "plan": asdict(plan)}, separators=(",", ":")) + "\n"
    )


def from_json(text: str, source: str) -> Plan:
    """InvalidInput, naming `source`, if the text is not a plan of this schema version."""
    from edgedl.pruning.plan import Plan

    data = strict_json.document(text, source, "pruning plan", KIND, SCHEMA_VERSION)
    try:
        return decode(Plan, data.get("plan"), "plan")
    except InvalidInput as error:
        raise InvalidInput(f"{source} is not a whole pruning plan: {error}") from error


def load_into(module: nn.Module, folder: Path) -> nn.Module:
    """The module pruned by the folder's plan, with its weights; InvalidInput for another model's or a broken folder."""
    from edgedl import weights

    pruned = plan_in(folder).apply(module)
    weights.load_into(pruned, folder / WEIGHTS)
    return pruned


def plan_in(folder: Path) -> Plan:
    """The plan of a folder; InvalidInput if there is none that can be read."""
    path = folder / PLAN
    if not path.is_file():
        raise InvalidInput(
            f"{folder} is no pruned model: it has no {PLAN}; make one with: edgedl prune TASK -o {folder}"
        )
    if path.stat().st_size > LARGEST:
        raise InvalidInput(f"{path} is too large for a pruning plan: more than {LARGEST} bytes")
    return from_json(path.read_text(errors="replace"), str(path))


def digest(folder: Path) -> str | None:
    """One SHA-256 for both files; None if one is missing."""
    paths = [folder / PLAN, folder / WEIGHTS]
    if not all(path.is_file() for path in paths):
        return None
    return hashlib.sha256("".join(map(sha256, paths)).encode()).hexdigest()
