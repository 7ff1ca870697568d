"""What was pruned, as data: it can be written down, read back, and carried out on a freshly built model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from edgedl.errors import InvalidInput
from edgedl.module_copy import full_copy
from edgedl.pruning import layers
from edgedl.pruning.attention import SlimAttention
from edgedl.pruning.folding import folded


@dataclass(frozen=True)
class Cut:
    """The channels that one side of one layer keeps, ascending; see edgedl.pruning.layers for the sides."""

    module: str
    side: str
    kept: tuple[int, ...]


@dataclass(frozen=True)
class Attribute:
    """A whole number that a module keeps for itself, such as its number of heads, and its new value."""

    module: str
    name: str
    value: int


@dataclass(frozen=True)
class Plan:
    """model: fingerprint of the unpruned model. method: `structured`, `unstructured` or `N:M`, as `2:4`.

    cuts and attributes are of the structured method; the others leave zeros in the weights and the shapes as they are.
    plain: layers that computed their weights in each run, and have plain ones before anything is cut.
    """

    model: str
    method: str = "structured"
    cuts: tuple[Cut, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    plain: tuple[str, ...] = ()

    def apply(self, module: nn.Module) -> nn.Module:
        """A pruned copy of the module; InvalidInput, in one sentence, if the plan is not one for it."""
        if (there := fingerprint(module)) != self.model:
            raise InvalidInput(
                f"the plan was made for another model: its fingerprint is {self.model!r}, this model's is {there!r}"
            )
        plain = folded(module, self.plain)
        result = self.carried_out(full_copy(plain))
        _tie(plain, result)
        return result

    def carried_out(self, module: nn.Module) -> nn.Module:
        """The module itself, pruned; InvalidInput for a layer, side or number that it has not."""
        for attribute in self.attributes:
            _set(module, attribute)
        for cut in self.cuts:
            module = _cut(module, cut)
        return _without_nested_tensors(module)


def fingerprint(module: nn.Module) -> str:
    """`PARAMETERS-DIGEST` of the names and shapes of all tensors."""
    state = module.state_dict()
    text = "\n".join(f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(state.items()))
    count = sum(parameter.numel() for parameter in module.parameters())
    return f"{count}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def made(module: nn.Module, removed: Mapping[tuple[str, str], set[int]], attributes: Mapping[tuple[str, str], int]) -> Plan:  # fmt: skip
    """The plan that removes these channels by (module, side) and sets these attributes by (module, name)."""
    cuts = []
    for (name, side), gone in sorted(removed.items()):
        whole = layers.extent(module.get_submodule(name), side)
        cuts.append(Cut(name, side, tuple(channel for channel in range(whole) if channel not in gone)))
    told = tuple(Attribute(name, attribute, value) for (name, attribute), value in sorted(attributes.items()))
    return Plan(fingerprint(module), cuts=tuple(cuts), attributes=told)


def composed(first: Plan, second: Plan) -> Plan:
    """One plan that does what `first` and, on its result, `second` do."""
    cuts = {(cut.module, cut.side): cut.kept for cut in first.cuts}
    for cut in second.cuts:
        before = cuts.get((cut.module, cut.side))
        cuts[cut.module, cut.side] = cut.kept if before is None else tuple(before[channel] for channel in cut.kept)
    attributes = {(a.module, a.name): a for a in (*first.attributes, *second.attributes)}
    kept = tuple(Cut(*key, kept) for key, kept in sorted(cuts.items()))
    return replace(first, cuts=kept, attributes=tuple(attributes[key] for key in sorted(attributes)))


def _cut(root: nn.Module, cut: Cut) -> nn.Module:
    """The root, with one layer cut; another root where it is the layer itself that had to be replaced."""
    layer = _module(root, cut.module)
    if not layers.kind_of(layer, cut.side):
        raise InvalidInput(
            f"the plan cuts {cut.side!r} of {cut.module!r}, which a {type(layer).__name__} does not have"
        )
    whole = layers.extent(layer, cut.side)
    if not cut.kept or cut.kept[0] < 0 or cut.kept[-1] >= whole or list(cut.kept) != sorted(set(cut.kept)):
        raise InvalidInput(
            f"the plan keeps channels of {cut.side!r} of {cut.module!r} that are not ascending numbers from 0 to {whole - 1}"
        )
    try:
        new = layers.cut(layer, cut.side, torch.tensor(cut.kept))
    except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError) as error:
        raise InvalidInput(f"the plan cannot cut {cut.side!r} of {cut.module!r}: {error}".splitlines()[0]) from error
    if new is layer:
        return root
    return new if not cut.module else _replaced(root, layer, new)


def _replaced(root: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    for parent in list(root.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                setattr(parent, name, new)
    return root


def _module(root: nn.Module, name: str) -> nn.Module:
    try:
        return root.get_submodule(name)
    except AttributeError as error:
        raise InvalidInput(f"the plan prunes {name!r}, and the model has no such layer") from error


def _set(root: nn.Module, attribute: Attribute) -> None:
    module = _module(root, attribute.module)
    old: Any = vars(module).get(attribute.name)
    if type(old) is not int or not 0 < attribute.value <= old:
        raise InvalidInput(
            f"the plan sets {attribute.name!r} of {attribute.module!r} to {attribute.value}: expected a whole number that it has, "
            "made no larger"
        )
    setattr(module, attribute.name, attribute.value)


def _tie(before: nn.Module, after: nn.Module) -> None:
    """A weight that two layers shared is shared again, where both have cut it to the same."""
    names: dict[int, list[str]] = {}
    for name, parameter in before.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for first, *others in names.values():
        for other in others:
            kept, twin = after.get_parameter(first), after.get_parameter(other)
            if kept is not twin and torch.equal(kept, twin):
                owner, _, name = other.rpartition(".")
                setattr(after.get_submodule(owner), name, kept)


def _without_nested_tensors(module: nn.Module) -> nn.Module:
    """torch's encoder feeds packed sentences to attention layers of its own kind only."""
    for part in module.modules():
        if isinstance(part, nn.TransformerEncoder) and any(isinstance(m, SlimAttention) for m in part.modules()):
            part.use_nested_tensor = False
    return module
