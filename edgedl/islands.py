"""Which operators without weights stay in float with a layer: rounded to 8 bits there, its result would be as wrong as before."""

from __future__ import annotations

from collections.abc import Collection, Iterable

Step = tuple[str | None, Collection[str], Collection[str]]
"""(layer, or None for an operator without weights; tensors that are read; tensors that are computed)"""


def beside(steps: Iterable[Step], kept: Collection[str]) -> list[int]:
    """Positions of the operators that belong to a layer in `kept`: the last one, in the order of computation, that they depend on."""
    owners: dict[str, tuple[int, str]] = {}
    found = []
    for number, (layer, inputs, outputs) in enumerate(steps):
        owner = (number, layer) if layer else max((owners[name] for name in inputs if name in owners), default=None)
        if owner:
            owners.update(dict.fromkeys(outputs, owner))
            if layer is None and owner[1] in kept:
                found.append(number)
    return found
