"""How the verbs talk: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import click

from edgedl import strict_json
from edgedl.artifact import Artifact
from edgedl.sizes import size
from edgedl.task import Progress


def note(text: str) -> None:
    """A line for a person who watches; nothing where nobody does."""
    if sys.stderr.isatty():
        click.echo(text, err=True)


def print_json(value: Any) -> None:
    click.echo(strict_json.dumps(value))


def working() -> contextlib.AbstractContextManager[object]:
    """While a verb works, what the user's own code prints goes to stderr: stdout is for results."""
    return contextlib.redirect_stdout(sys.stderr)


@contextlib.contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """A bar on stderr that is told (done, total); silent where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with click.progressbar(length=1000, label=label, file=sys.stderr) as bar:
        yield lambda done, total: bar.update(1000 * done // max(total, 1) - bar.pos)


def artifact_json(artifact: Artifact) -> dict[str, Any]:
    return {"path": str(artifact.path), "manifest": asdict(artifact.manifest) if artifact.manifest else None}


def error_told(evidence: Mapping[str, Any]) -> str:
    """`relative RMS error 0.01, 0.02 of what varies`: the worst of all outputs."""
    worst = max((case["relative_rms"] for case in evidence["parity"]), default=0.0)
    varying = [part["variation"] for part in evidence.get("parts", ()) if part["variation"] is not None]
    return f"relative RMS error {worst:.2g}" + (f" ({max(varying):.2g} of what varies)" if varying else "")


def inputs_told(kind: str) -> str:
    """`calibration inputs`, or `rows.npz (32 rows)` where the user gave them."""
    return kind if kind.endswith((" row)", " rows)")) else f"{kind} inputs"


def notes(artifact: Artifact) -> list[str]:
    """What the proof of an artifact says little about."""
    return list(artifact.manifest.evidence.get("notes", ())) if artifact.manifest else []


def proven_line(artifact: Artifact) -> str:
    """One line about a proven artifact: its size, its error and its score."""
    assert artifact.manifest
    evidence = artifact.manifest.evidence
    line = f"{artifact.path}  {size(artifact.manifest.size)}  proven: {error_told(evidence)} on {inputs_told(evidence['inputs'])}"
    if match := evidence.get("match"):
        line += f", {match['equal']:.1%} of {match['sequences']} sequences the same"
    if score := evidence["score"]:
        line += f", {score['name']} {score['value']:.4g} (drop {score['drop']:.2g})"
    worth = evidence.get("worth")
    return f"{line}, {worth['sentence']}" if worth and not worth["objections"] else line


def in_float(artifact: Artifact) -> Iterator[str]:
    """What the quantization left in float by itself, and why."""
    for region in artifact.manifest.provenance.get("in_float", ()) if artifact.manifest else ():
        first, *others = region["operators"]
        more = f" and {len(others)} more" if others else ""
        yield f"  stays in float: {first}{more}: {region['reason']}"


def objections(artifact: Artifact) -> list[str]:
    """Why a proven artifact is not worth having, where that was allowed."""
    assert artifact.manifest
    worth = artifact.manifest.evidence.get("worth") or {}
    return list(worth.get("objections", ()))
