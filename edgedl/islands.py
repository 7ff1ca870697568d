"""Which operators without weights stay in float with a layer: rounded to 8 bits there, its result would be as wrong as before."""

from __future__ import annotations

from collections.abc import Collection, Sequence

Step = tuple[str | None, Collection[str], Collection[str]]
"""(layer, or None for an operator without weights; tensors that are read; tensors that are computed)"""


def beside(steps: Sequence[Step], kept: Collection[str]) -> list[int]:
    """Positions of the operators that belong to a layer in `kept`.

    That is the last one, in the order of computation, that an operator depends on; where it depends on none, any that reads it.
    """
    owners = _owners(steps)
    found = {number for number, owner in enumerate(owners) if owner in kept and steps[number][0] is None}
    wanted = {name for layer, inputs, _ in steps if layer in kept for name in inputs}
    for number in reversed(range(len(steps))):
        layer, inputs, outputs = steps[number]
        if layer is None and owners[number] is None and wanted.intersection(outputs):
            found.add(number)
            wanted.update(inputs)
    return sorted(found)


def _owners(steps: Sequence[Step]) -> list[str | None]:
    """Of each step the last layer that it depends on, itself included."""
    latest: dict[str, tuple[int, str]] = {}
    found: list[str | None] = []
    for number, (layer, inputs, outputs) in enumerate(steps):
        owner = (number, layer) if layer else max((latest[name] for name in inputs if name in latest), default=None)
        found.append(owner[1] if owner else None)
        if owner:
            latest.update(dict.fromkeys(outputs, owner))
    return found
