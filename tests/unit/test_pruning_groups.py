"""Groups, plans and their replay on a tiny network of each kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pruning_nets as nets
import pytest
import torch
from torch import nn

from edgedl import export
from edgedl.errors import InvalidInput
from edgedl.program import named_tensors, program_of
from edgedl.pruning import layers
from edgedl.pruning.cost import macs, parameters
from edgedl.pruning.graph import Graph, graph_of
from edgedl.pruning.groups import Group, Removal, plan_of
from edgedl.pruning.importance import KINDS, scores
from edgedl.pruning.plan import Plan, composed
from edgedl.pruning.selection import Ranking
from edgedl.task import Task

pytest.importorskip("torch_pruning")

# what each network must lose channels of, at least
EXPECTED = {
    "mlp": {"0", "3"},
    "residual": {"stem", "first"},
    "inverted": {"stem", "expand", "squeeze"},
    "concatenating": {"left", "right", "mixed"},
    "dense": {"first", "second", "third"},
    "grouped": {"stem", "grouped", "up"},
    "rnn": {"embedding", "recurrent", "narrow"},
    "lstm": {"embedding", "recurrent", "narrow"},
    "bilstm": {"embedding", "recurrent", "narrow"},
    "bigru": {"embedding", "recurrent", "narrow"},
    "final_state": {"recurrent"},
    "attending": {"recurrent", "key"},
    "encoder_decoder": {"encoder"},
    "encoder": {f"encoder.layers.{n}.{part}" for n in (0, 1) for part in ("self_attn", "linear1")},
    "encoder_time_first": {f"encoder.layers.{n}.{part}" for n in (0, 1) for part in ("self_attn", "linear1")},
    "block": {"attention", "widen"},
    "tied": {"embedding", "recurrent"},
}


def graph(task: Task) -> Graph:
    return graph_of(program_of(task, task.model()))


def outputs(module: nn.Module, task: Task) -> list[torch.Tensor]:
    with torch.no_grad():
        returned = module.eval()(*(torch.from_numpy(array) for array in task.example_inputs().values()))
    return [tensor for _, tensor in named_tensors(returned)]


def half(task: Task, found: Graph) -> Plan:
    """Half of every group goes, the least important by magnitude."""
    program = program_of(task, task.model())
    every = scores("magnitude", program, found.groups, [])
    return plan_of(task.model(), found.groups, ranking(found.groups, every).removal(0.5))


def ranking(groups: tuple[Group, ...], every: dict[str, np.ndarray], **options: object) -> Ranking:
    return Ranking(groups, every, {group.name: 1.0 for group in groups}, **{"scope": "layer", **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", nets.NETS)
def test_half_of_everything_goes_and_the_network_runs(name: str) -> None:
    task = nets.task(name)
    found = graph(task)
    assert {group.name for group in found.groups} >= EXPECTED[name]
    plan = half(task, found)
    module = task.model()
    before = parameters(module)
    pruned = plan.apply(module)
    assert parameters(module) == before, "the module itself is left alone"
    assert parameters(pruned) < 0.75 * before
    got, want = outputs(pruned, task), outputs(module, task)
    assert [tensor.shape for tensor in got] == [tensor.shape for tensor in want]
    assert macs(pruned, program_of(task, module)) < macs(module, program_of(task, module))


@pytest.mark.parametrize("name", nets.NETS)
def test_a_plan_replayed_on_a_fresh_model_gives_the_same_outputs(name: str) -> None:
    task = nets.task(name)
    plan = half(task, graph(task))
    first, second = plan.apply(task.model()), plan.apply(task.model())
    for got, want in zip(outputs(second, task), outputs(first, task), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name in nets.NETS if name not in ("mlp", "grouped")])
def test_a_pruned_network_is_the_whole_one_deaf_to_what_went(name: str) -> None:
    """Exactly, where no norm spans the channels."""
    task = nets.task(name)
    module = task.model()
    plan = half(task, graph(task))
    deaf = task.model()
    for cut in plan.cuts:
        layer = deaf.get_submodule(cut.module)
        gone = sorted(set(range(layers.extent(layer, cut.side))) - set(cut.kept))
        layers.silence(layer, cut.side, torch.tensor(gone))
    for got, want in zip(outputs(plan.apply(module), task), outputs(deaf, task), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", nets.NETS)
def test_two_plans_are_one(name: str) -> None:
    task = nets.task(name)
    first = half(task, graph(task))
    once = first.apply(task.model())
    again = Task(name, lambda: first.apply(task.model()), task.example_inputs)
    second = half(again, graph(again))
    both = composed(first, second)
    for got, want in zip(outputs(both.apply(task.model()), task), outputs(second.apply(once), task), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["encoder", "bigru", "inverted", "block"])
def test_a_pruned_network_is_exported_and_proven(name: str, tmp_path: Path) -> None:
    task = nets.task(name)
    plan = half(task, graph(task))
    (artifact,) = export(replace(task, model=lambda: plan.apply(task.model())), out=tmp_path)
    assert artifact.manifest is not None
    assert artifact.manifest.evidence["passed"]


def test_a_shared_weight_stays_shared() -> None:
    task = nets.task("tied")
    pruned = half(task, graph(task)).apply(task.model())
    assert pruned.head.weight is pruned.embedding.weight


def test_a_frozen_layer_stays_frozen() -> None:
    task = nets.task("residual")
    module = task.model()
    module.stem.requires_grad_(False)  # type: ignore[union-attr, operator]
    pruned = half(task, graph(task)).apply(module)
    assert not pruned.stem.weight.requires_grad  # type: ignore[union-attr]
    assert pruned.first.weight.requires_grad  # type: ignore[union-attr]


def test_hidden_sizes_fall_in_all_layers_and_directions() -> None:
    task = nets.task("bilstm")
    pruned = half(task, graph(task)).apply(task.model())
    recurrent = pruned.get_submodule("recurrent")
    assert recurrent.hidden_size == 8
    shapes = {name: tuple(parameter.shape) for name, parameter in recurrent.named_parameters()}
    assert shapes["weight_hh_l0"] == shapes["weight_hh_l1_reverse"] == (32, 8)
    assert shapes["weight_ih_l1"] == (32, 16)
    assert shapes["weight_ih_l0"] == (32, 6), "the embedding before it was pruned too"


def test_heads_go_whole() -> None:
    task = nets.task("encoder")
    pruned = half(task, graph(task)).apply(task.model())
    attention = pruned.get_submodule("encoder.layers.0.self_attn")
    assert (attention.num_heads, attention.head_dim, attention.embed_dim) == (2, 4, 16)
    assert attention.in_proj_weight.shape == (24, 16)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_every_importance_ranks_every_unit(kind: str) -> None:
    task = nets.task("inverted")
    program, found = program_of(task, task.model()), graph(task)
    every = scores(kind, program, found.groups, [task.example_inputs()])
    assert {group.name: group.size for group in found.groups if group.name in every} == {
        n: len(v) for n, v in every.items()
    }
    assert all(np.isfinite(values).all() and values.min() >= 0 for values in every.values())
    assert every.keys() == ({"expand"} if kind == "bn" else {group.name for group in found.groups})


@pytest.mark.parametrize("kind", ["magnitude", "taylor", "activation"])
@pytest.mark.parametrize("name", ["mlp", "bilstm", "encoder", "block"])
def test_a_unit_that_does_nothing_goes_first(kind: str, name: str) -> None:
    task, found = nets.task(name), graph(nets.task(name))
    group = found.groups[0]
    module = task.model()
    removal: Removal = {group.name: np.arange(group.blocks) * group.units_per_block}
    for cut in plan_of(module, [group], removal).cuts:
        layer = module.get_submodule(cut.module)
        gone = sorted(set(range(layers.extent(layer, cut.side))) - set(cut.kept))
        layers.silence(layer, cut.side, torch.tensor(gone))
        if cut.side == "out" and isinstance(layer, nn.Linear):
            layer.weight.data[gone] = 0
    every = scores(kind, program_of(task, module), [group], [task.example_inputs()])
    first = every[group.name].reshape(group.blocks, -1).argmin(1)
    assert (first == 0).all()


def test_scores_that_cannot_be_had() -> None:
    task = nets.task("mlp")
    program, found = program_of(task, task.model()), graph(task)
    with pytest.raises(InvalidInput, match=r"taylor needs real inputs: mlp has no calibration\(\); take magnitude"):
        scores("taylor", program, found.groups, [])
    with pytest.raises(InvalidInput, match="mlp has no batch norm"):
        scores("bn", program, found.groups, [])


@pytest.mark.parametrize("alignment", [1, 4, 8])
@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.6, 1.0])
def test_counts_are_multiples_of_the_alignment(alignment: int, scope: str, ratio: float) -> None:
    task = nets.task("grouped")
    found = graph(task)
    every = scores("magnitude", program_of(task, task.model()), found.groups, [])
    removal = ranking(found.groups, every, scope=scope, alignment=alignment).removal(ratio)
    for group in found.groups:
        kept = group.size - len(removal[group.name])
        assert kept == group.size or kept % alignment == 0
        assert kept % group.blocks == 0
        assert kept >= min(group.size, 0.1 * group.size)
        assert ratio or kept == group.size


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            out: torch.Tensor = self.second(self.first(x))
        return out


class Reshaped(nn.Module):
    """The code knows the width by heart."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.second(self.first(x).view(-1, 8).cumsum(1))
        return out


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (Detached, "net cannot be traced for pruning.*'second'.*detach"),
        (Reshaped, "nothing in net can be pruned: first: the code does not run with fewer channels"),
        (lambda: nn.Linear(4, 2), "nothing in net can be pruned"),
        (lambda: nn.Flatten(), "net cannot be traced for pruning|nothing in net can be pruned"),
    ],
)
def test_networks_that_cannot_be_pruned_say_where(net: type[nn.Module], said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        graph(Task("net", net, lambda: {"x": np.ones((3, 4), np.float32)}))
    assert "\n" not in str(caught.value)


class Mixing(nn.Module):
    """Channels meet in a sum over neighbours, which no weight reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.third(self.second(self.first(x)).cumsum(-1))
        return out


def test_what_cannot_be_followed_is_left_alone_and_told() -> None:
    found = graph(Task("net", Mixing, lambda: {"x": np.ones((3, 4), np.float32)}))
    assert [group.name for group in found.groups] == ["first"]
    assert found.locked == {"second": "its channels are used in a way that could not be followed"}
