"""What the verbs tell of integer sums that saturate."""

from __future__ import annotations

from collections.abc import Iterator

from edgedl.artifact import Artifact
from edgedl.measure.environment import environment
from edgedl.saturation import PairSums, Saturation, instruction_set

SHOWN = 10
"""Layers that `inspect` lists, at the most."""


def recorded(artifact: Artifact) -> Saturation | None:
    """What the manifest holds of it."""
    told = artifact.manifest.evidence.get("saturation") if artifact.manifest else None
    return Saturation.from_dict(told) if told else None


def can_be_narrowed(artifact: Artifact) -> bool:
    """Whether quantizing the float file again with `--narrow auto` could mend the file: not where training chose the integers."""
    told = artifact.manifest.provenance if artifact.manifest else {}
    return "options" in told and not told["options"].get("narrow")


def headline(found: Saturation, mendable: bool) -> str:
    """One line: the verdict, what this machine has, and what mends it."""
    line = f"saturation  {found.sentence}"
    if not (found.confirmed or found.possible):
        return line
    line += f"; this machine: {instruction_set(environment().flags) or 'not known'}"
    return f"{line}; mend it with --narrow auto" if found.confirmed and mendable else line


def table(found: Saturation) -> Iterator[str]:
    """A line for each layer that could saturate, the worst first."""
    layers = [*found.confirmed, *found.possible]
    yield from (f"  {_line(layer)}" for layer in layers[:SHOWN])
    if len(layers) > SHOWN:
        yield f"  ... and {len(layers) - SHOWN} more (--json)"


def _line(layer: PairSums) -> str:
    seen = "not tried" if layer.outputs is None else f"{layer.saturated:,} of {layer.outputs:,} outputs lost something"
    error = f", error {layer.error:.2g}" if layer.saturated else ""
    return f"{layer.operator:8} {layer.at_risk} of {layer.channels} channels at risk, {seen}{error}  {layer.layer}"
