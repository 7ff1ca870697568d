"""Groups by Torch-Pruning's dependency graph, in our words: only its graph is used, none of its pruners.

G. Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023, https://arxiv.org/abs/2301.12900.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from edgedl.errors import InvalidInput
from edgedl.exporter import Program
from edgedl.pruning.groups import Group, Member
from edgedl.pruning.layers import CONVOLUTIONS, is_depthwise
from edgedl.pruning.standins import TracedAttention, TracedRecurrent, traceable
from edgedl.pruning.trial import first_line
from edgedl.silence import silent


def dependent(program: Program) -> Iterator[Group]:
    """Torch-Pruning's groups in our words, those of one recurrent layer joined."""
    scratch, standins = traceable(program.module)
    for group in _joined(_traced(program, scratch), standins):
        if len(group.members) > 1 and group.units_per_block > 1:
            yield group


def _traced(program: Program, scratch: nn.Module) -> list[Group]:
    """InvalidInput, naming a layer, if the network cannot be traced."""
    import torch_pruning as tp

    inputs = tuple(torch.from_numpy(array) for array in program.inputs.values())

    def forward(module: nn.Module, arguments: Any) -> list[torch.Tensor]:
        return [out for out in module(*arguments) if out.grad_fn is not None]

    with silent(), torch.enable_grad():
        try:
            graph = tp.DependencyGraph().build_dependency(scratch, inputs, forward_fn=forward, verbose=False)
        except Exception as error:
            raise InvalidInput(
                f"{program.name} cannot be traced for pruning{_where(scratch, inputs)}: {first_line(error)}"
            ) from error
        _refuse_unreached(program.name, scratch, graph)
        _follow_flattened_joins(graph)
        kinds = (CONVOLUTIONS, nn.Linear, nn.Embedding)
        found = [_in_our_words(graph, group) for group in graph.get_all_groups(root_module_types=kinds)]
    return [group for group in found if group]


def _follow_flattened_joins(graph: Any) -> None:
    """Torch-Pruning 1.6.1 counts the inputs of the layer behind a concatenation, and where they are more than the channels it
    takes the axis for another one and ties the parts together. Behind a flatten they are more: the axis is known, so it asks again.
    """
    from torch_pruning import ops
    from torch_pruning.dependency import index_mapping

    for node in graph.module2node.values():
        along_channels = node.type == ops.OPTYPE.CONCAT and getattr(node.grad_fn, "_saved_dim", None) == 1
        if along_channels and node.module.offsets is None:
            with patch.object(index_mapping.shape_infer, "infer_in_channels_recursively", lambda *_, **__: None):
                index_mapping.update_concat_index_mapping(graph, node)


def _where(scratch: nn.Module, inputs: Any) -> str:
    """` at layer X`: the last layer that was entered when the trace ended."""
    entered: list[str] = []
    hooks = [part.register_forward_pre_hook(lambda _, __, name=name: entered.append(name)) for name, part in scratch.named_modules()]  # fmt: skip
    try:
        scratch(*inputs)
    except Exception:
        return f" at layer {entered[-1].removeprefix('module.')!r}" if entered else ""
    finally:
        for hook in hooks:
            hook.remove()
    return ""


def _refuse_unreached(name: str, scratch: nn.Module, graph: Any) -> None:
    """A layer that the outputs do not depend on for autograd (a detach, a no_grad, numpy) cannot be followed."""
    layers = [(n, m) for n, m in scratch.named_modules() if isinstance(m, nn.Linear | CONVOLUTIONS)]
    unreached = [n.removeprefix("module.") for n, m in layers if m not in graph.module2node]
    if layers and len(unreached) == len(layers):
        raise InvalidInput(
            f"{name} cannot be traced for pruning at layer {unreached[-1]!r}: its outputs do not lead back to it "
            "(a detach, torch.no_grad or numpy in forward)"
        )


def _in_our_words(graph: Any, found: Any) -> Group | None:
    """One group of Torch-Pruning; None where it reaches what has no channels to cut."""
    members = []
    for item in found:
        side = _side(graph, item.dep)
        if side is None:
            continue
        units = item.root_idxs
        if any(unit is None for unit in units):
            return None
        members.append(Member(*side, np.array(item.idxs), np.array(units)))
    order = {name.removeprefix("module."): place for place, name in enumerate(graph._module2name.values())}
    own = [member.module for member in members if member.side in ("out", "channels")]
    size = len(found[0].idxs)
    return Group(min(own, key=lambda name: order.get(name, len(order))), size, tuple(members), _blocks(found, size))


def _side(graph: Any, dependency: Any) -> tuple[str, str] | None:
    layer = dependency.target.module
    if isinstance(layer, nn.Parameter):
        owner, _, name = graph._param_to_name[layer].removeprefix("module.").rpartition(".")
        return owner, f"{name}.{dependency.target.pruning_dim}"
    if not isinstance(layer, nn.Module) or layer not in graph._module2name:
        return None
    name = graph._module2name[layer].removeprefix("module.")
    if is_depthwise(layer):
        return name, "channels"
    single = isinstance(layer, nn.Linear | CONVOLUTIONS)
    return name, "in" if single and graph.is_in_channel_pruning_fn(dependency.handler) else "out"


def _blocks(found: Any, size: int) -> int:
    """Blocks that must lose as many as each other, for convolutions in groups and group norms."""
    counts = [1]
    for item in found:
        layer = item.dep.target.module
        depthwise = isinstance(layer, CONVOLUTIONS) and layer.groups == layer.out_channels
        if isinstance(layer, CONVOLUTIONS) and not depthwise:
            counts.append(layer.groups)
        elif isinstance(layer, nn.GroupNorm):
            counts.append(layer.num_groups)
    blocks = int(np.lcm.reduce(counts))
    return blocks if size % blocks == 0 else 1


def _joined(groups: list[Group], standins: dict[str, nn.Module]) -> Iterator[Group]:
    """The groups with stand-ins named as the layers that they stand for.

    A recurrent layer has one hidden size: the groups of all its layers and directions become one, of as many blocks.
    """
    waiting = [_renamed(group, standins) for group in groups if not _touches_attention(group, standins)]
    while waiting:
        group = waiting.pop(0)
        recurrent = {m.module for m in group.members if m.side.startswith("hidden")}
        others = [g for g in waiting if recurrent & {m.module for m in g.members if m.side.startswith("hidden")}]
        if others and all(other.size == group.size // group.blocks for other in others[:1]):
            waiting.remove(others[0])
            waiting.insert(0, _side_by_side(group, others[0]))
        elif not others:
            yield group


def _touches_attention(group: Group, standins: dict[str, nn.Module]) -> bool:
    """The width of an nn.MultiheadAttention is the width of the whole network around it: it stays."""
    owners = {member.module.rpartition(".")[0] for member in group.members}
    return any(isinstance(standins.get(owner), TracedAttention) for owner in owners)


def _renamed(group: Group, standins: dict[str, nn.Module]) -> Group:
    members: dict[tuple[str, str], Member] = {}
    for member in group.members:
        owner, _, part = member.module.rpartition(".")
        if not isinstance(standins.get(owner), TracedRecurrent):
            members[member.module, member.side] = member
        elif member.side == "out":
            members[owner, f"hidden{part}"] = Member(owner, f"hidden{part}", member.channels, member.units)
        elif part.startswith("_l0"):
            members[owner, "in"] = Member(owner, "in", member.channels, member.units)
    owner = group.name.rpartition(".")[0]
    name = owner if isinstance(standins.get(owner), TracedRecurrent) else group.name
    return Group(name, group.size, tuple(members.values()), group.blocks)


def _side_by_side(first: Group, second: Group) -> Group:
    """Both as one, the units of the second after those of the first."""
    shifted = tuple(Member(m.module, m.side, m.channels, m.units + first.size) for m in second.members)
    return Group(first.name, first.size + second.size, (*first.members, *shifted), first.blocks + second.blocks)
