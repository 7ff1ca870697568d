"""The parts of a pruning that no engine is needed for: targets, the search, zeros, the teacher, the staircase's verdict."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pruning_nets as nets
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgedl import registry
from edgedl.errors import GateFailed, InvalidInput, UnknownName
from edgedl.program import program_of
from edgedl.pruning import sparse, staircase
from edgedl.pruning.cutting import Cutting, over_all
from edgedl.pruning.graph import graph_of
from edgedl.pruning.importance import scores
from edgedl.pruning.outcome import Layer, Options
from edgedl.pruning.plan import Attribute, Cut, Plan
from edgedl.pruning.recovery import Recovery, taught_by, zeros_kept
from edgedl.pruning.run import check
from edgedl.pruning.search import Target, smallest
from edgedl.pruning.sensitivity import NOT_FINITE, SHARES, Sensitivity, sensitivities
from edgedl.pruning.staircase import ALIGNMENTS, COUNTS, Staircase, Step
from edgedl.pruning.workshop import Workshop
from edgedl.task import Score, Task

# ---- targets and the search ----


@pytest.mark.parametrize(("text", "size"), [("200kB", 200_000), ("1.5 MB", 1_500_000), ("64KiB", 65_536), ("900", 900)])
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert Target.size(text) == Target("size", size)


@pytest.mark.parametrize("text", ["", "kB", "-5kB", "5 parsecs", "0", "0.2", "1e9kB", "nan"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected bytes, as 200kB"):
        Target.size(text)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.5, 2.0, float("nan"), float("inf")])
def test_shares_are_between_0_and_1(value: float) -> None:
    with pytest.raises(InvalidInput, match=r"between 0 and 1, as 0.5"):
        Target("macs", value)


def test_steps_leave_the_same_share_each() -> None:
    shares = [Target("macs", 0.25).share(1000, step, 2) for step in (1, 2)]
    assert shares == [0.5, 0.25]
    assert Target("size", 400).share(1600, 1, 1) == 0.25
    with pytest.raises(GateFailed, match="the original's file of 300 bytes is within --size 400 already"):
        Target("size", 400).share(300, 1, 1)


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=30), st.floats(0.0, 1.0))
def test_the_search_meets_the_target_with_the_fewest_units(costs: list[float], most: float) -> None:
    """For a cost that falls with the units that go, whatever its steps."""
    falling = [1.0, *sorted(costs, reverse=True)]

    def removal(ratio: float) -> dict[str, np.ndarray]:
        return {"g": np.arange(int(ratio * len(costs)))}

    def cost(found: dict[str, np.ndarray]) -> float:
        return falling[len(found["g"])]

    if falling[-1] > most:
        with pytest.raises(GateFailed, match="macs cannot be brought down to"):
            smallest(removal, cost, most, "macs", 20)
        return
    found = len(smallest(removal, cost, most, "macs", 20)["g"])
    assert falling[found] <= most
    assert found == 0 or falling[found - 1] > most


def test_a_removal_is_priced_once() -> None:
    priced = []
    smallest(
        lambda r: {"g": np.arange(int(4 * r))},
        lambda f: priced.append(len(f["g"])) or 1 - len(f["g"]) / 4,
        0.5,
        "x",
        20,
    )  # type: ignore[func-returns-value]
    assert sorted(priced) == sorted(set(priced))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(), "needs one target"),
        (Options(method="2:4", target=Target("macs", 0.5)), "needs one target"),
        (Options(method="unstructured"), "--sparsity goes with --method unstructured"),
        (Options(target=Target("macs", 0.5), sparsity=0.5), "--sparsity goes with --method unstructured"),
        (Options(method="unstructured", sparsity=1.0), "--sparsity 1: expected the share of zeros"),
        (Options(method="4:4"), "--method 4:4: expected N:M with N from 1 to M - 1"),
        (Options(method="0:4"), "--method 0:4: expected N:M"),
        (Options(target=Target("macs", 0.5), steps=0), "expected 1 or more steps"),
        (Options(target=Target("macs", 0.5), alignment=-1), "expected 1 or more steps, threads and channels"),
    ],
)
def test_options_that_do_not_go_together(options: Options, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        check(options)


@pytest.mark.parametrize(
    ("options", "nearest"),
    [
        (Options(method="structred"), "structured"),
        (Options(target=Target("macs", 0.5), importance="tailor"), "taylor"),
        (Options(target=Target("macs", 0.5), scope="globl"), "global"),
    ],
)
def test_names_that_are_near(options: Options, nearest: str) -> None:
    with pytest.raises(UnknownName, match=f"did you mean '{nearest}'"):
        check(options)


# ---- zeros ----


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["residual", "bilstm", "encoder", "tied"])
def test_the_least_weights_become_zero(name: str, share: float) -> None:
    module = nets.task(name).model()
    before = {n: p.detach().clone() for n, p in sparse.prunable(module).items()}
    sparse.unstructured(module, share)
    after = sparse.prunable(module)
    assert sparse.sparsity(module) == pytest.approx(share, abs=0.01)
    gone = torch.cat([before[n][after[n] == 0].abs() for n in before])
    left = torch.cat([before[n][after[n] != 0].abs() for n in before])
    assert gone.max() <= left.min()


@pytest.mark.parametrize(("kept", "of"), [(2, 4), (1, 4), (1, 2)])
def test_n_of_m_keeps_the_largest_of_every_m_inputs(kept: int, of: int) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 3), nn.Conv2d(8, 2, 3), nn.Linear(6, 2))
    before = copy.deepcopy(module)
    sparse.n_of_m(module, kept, of)
    linear = module[0].weight.reshape(3, -1, of)  # type: ignore[union-attr, operator]
    assert ((linear != 0).sum(-1) == kept).all()
    conv = module[1].weight.movedim(1, -1).reshape(-1, of)  # type: ignore[union-attr, operator]
    assert ((conv != 0).sum(-1) == kept).all()
    rest = module[2].weight[:, 6 // of * of :]  # type: ignore[index]
    assert torch.equal(rest, before[2].weight[:, 6 // of * of :])  # type: ignore[index]
    largest = before[0].weight.reshape(3, -1, of).abs().topk(kept, -1).values  # type: ignore[union-attr, operator]
    torch.testing.assert_close(linear.abs().topk(kept, -1).values, largest)


def test_zeros_stay_zero_while_others_learn() -> None:
    torch.manual_seed(0)
    module = nn.Linear(16, 4)
    sparse.unstructured(module, 0.5)
    zeros, before = module.weight == 0, module.weight.detach().clone()
    with zeros_kept(module):
        optimizer = torch.optim.AdamW(module.parameters(), 0.1)
        for _ in range(5):
            optimizer.zero_grad()
            module(torch.randn(8, 16)).square().mean().backward()
            optimizer.step()
    assert torch.equal(module.weight == 0, zeros)
    assert not torch.equal(module.weight, before)


# ---- the teacher ----


def learned(teacher: nn.Module | None, task_loss: float) -> nn.Linear:
    """A student of 300 steps under a loss of its own (all outputs zero), of the given weight."""
    torch.manual_seed(1)
    student, x = nn.Linear(4, 2), torch.randn(64, 4)
    optimizer = torch.optim.Adam(student.parameters(), 0.05)
    with taught_by(teacher or nn.Linear(4, 2), student) as teaching:
        for _ in range(300):
            optimizer.zero_grad()
            (task_loss * student(x).square().mean()).backward()
            optimizer.step()
    assert teaching.heard == 300
    return student


def test_the_teacher_is_learned_from() -> None:
    torch.manual_seed(0)
    teacher = nn.Linear(4, 2)
    torch.testing.assert_close(learned(teacher, 1e-6).weight, teacher.weight, rtol=0, atol=1e-2)
    assert all(parameter.requires_grad for parameter in teacher.parameters()), "a copy teaches"


def test_the_task_is_learned_beside_the_teacher() -> None:
    torch.manual_seed(0)
    teacher = nn.Linear(4, 2)
    between = learned(teacher, 1.0).weight.norm()
    assert 0.1 * teacher.weight.norm() < between < 0.99 * teacher.weight.norm()


def test_the_teacher_is_gone_afterwards_and_silent_in_evaluation() -> None:
    student = nn.Linear(4, 2)
    with taught_by(nn.Linear(4, 2), student) as teaching:
        student.eval()(torch.ones(1, 4))
        with torch.no_grad():
            student.train()(torch.ones(1, 4))
    student(torch.ones(1, 4))
    assert teaching.heard == 0


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"y": self.layer(x), "best": self.layer(x).argmax(1)}


def test_outputs_that_have_no_gradient_are_not_taught() -> None:
    student = Two()
    with taught_by(Two(), student) as teaching:
        student(torch.ones(3, 4))["y"].sum().backward()
    assert teaching.heard == 1


# ---- recovery ----


def recovery(folder: Path, values: list[float], **fields: object) -> Recovery:
    """A task whose trainings score `values`, one after the other; the unpruned module scores 1."""
    left = iter(values)

    def fit(module: nn.Module, seed: int, progress: object) -> nn.Module:
        module(torch.ones(2, 4)).sum().backward()
        with torch.no_grad():
            module.weight.fill_(next(left))  # type: ignore[union-attr, operator]
        return module

    def evaluate(predict: object) -> Score:
        return Score("score", float(predict({"x": np.array([[1, 0, 0, 0]], np.float32)})["output"][0, 0]))  # type: ignore[operator]

    task = Task(
        "net",
        lambda: nn.Linear(4, 1, bias=False),
        lambda: {"x": np.ones((1, 4), np.float32)},
        fit=fit,
        evaluate=evaluate,
    )  # type: ignore[arg-type]
    options = Options(target=Target("macs", 0.5), max_drop=0.1)
    made = Recovery(
        task,
        options,
        nn.Linear(4, 1, bias=False),
        Score("score", 1.0),
        Workshop.at(folder, "x", False),
        lambda d, t: None,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def cut(value: float) -> nn.Module:
    module = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(value)
    return module


def test_recovery_stops_when_the_budget_is_met(tmp_path: Path) -> None:
    under_way = recovery(tmp_path, [0.5, 0.95, 0.99])
    module = under_way.recovered(cut(0.0), 1, 3)
    assert float(module.weight[0, 0]) == pytest.approx(0.95)  # type: ignore[index]
    assert (under_way.rounds, under_way.taught) == (2, 2)


def test_recovery_gives_the_best_where_the_budget_is_not_met(tmp_path: Path) -> None:
    under_way = recovery(tmp_path, [0.5, 0.3])
    assert float(under_way.recovered(cut(0.0), 1, 2).weight[0, 0]) == pytest.approx(0.5)  # type: ignore[index]


def test_what_lost_nothing_is_not_trained(tmp_path: Path) -> None:
    under_way = recovery(tmp_path, [])
    module = cut(0.95)
    assert under_way.recovered(module, 1, 3) is module
    assert under_way.rounds == 0


def test_a_training_that_is_there_is_not_repeated(tmp_path: Path) -> None:
    recovery(tmp_path, [0.5]).recovered(cut(0.0), 1, 1)
    again = recovery(tmp_path, [0.97])
    assert float(again.recovered(cut(0.0), 1, 2).weight[0, 0]) == pytest.approx(0.97)  # type: ignore[index]
    assert (again.rounds, again.taught) == (2, 1)


# ---- the workshop ----


def test_work_is_kept_for_the_same_call_and_no_other(tmp_path: Path) -> None:
    shop = Workshop.at(tmp_path, "one", False)
    assert shop.kept("layer", Layer, lambda: Layer("a", 8, 4)) == Layer("a", 8, 4)
    assert Workshop.at(tmp_path, "one", False).kept("layer", Layer, lambda: Layer("b", 1, 1)) == Layer("a", 8, 4)
    with pytest.raises(InvalidInput, match="holds the interrupted work of another call: --force begins anew"):
        Workshop.at(tmp_path, "two", False)
    assert Workshop.at(tmp_path, "two", True).kept("layer", Layer, lambda: Layer("b", 1, 1)) == Layer("b", 1, 1)
    shop.close()
    assert list(tmp_path.iterdir()) == []


def test_two_cuts_are_told_as_one() -> None:
    first = Cutting(Plan("a"), (Layer("0", 8, 6), Layer("1", 4, 4)), (), {}, 2)
    second = Cutting(Plan("b"), (Layer("0", 6, 4),), (), {}, 1)
    told = over_all([first, second])
    assert (told.layers, told.alignment) == ((Layer("0", 8, 4), Layer("1", 4, 4)), 1)


def test_a_cut_is_read_back_as_it_was(tmp_path: Path) -> None:
    plan = Plan("58-0f", cuts=(Cut("0", "out", (0, 2)),), attributes=(Attribute("", "heads", 3),))
    cut = Cutting(plan, (Layer("0", 4, 2),), (Sensitivity("0", 4, (0.1, 0.5, NOT_FINITE)),), {"1": "why"}, 8)
    shop = Workshop.at(tmp_path, "one", False)
    assert shop.kept("cut1", Cutting, lambda: cut) == cut
    assert shop.kept("cut1", Cutting, lambda: None) == cut  # type: ignore[arg-type, return-value]


# ---- the staircase ----


def stairs(cost: dict[int, float]) -> Staircase:
    """Nanoseconds per channel squared, by the largest alignment of the count."""

    def of(count: int) -> float:
        return count**2 * cost[max(a for a in ALIGNMENTS if count % a == 0)]

    return Staircase("convolution", "machine", "engine", tuple(Step(count, of(count)) for count in COUNTS))


@pytest.mark.parametrize(
    ("cost", "order"),
    [
        ({1: 2.0, 8: 1.5, 16: 1.0}, (16, 8, 1)),
        ({1: 2.0, 8: 1.01, 16: 1.0}, (8, 16, 1)),
        ({1: 1.0, 8: 1.0, 16: 1.0}, (1, 8, 16)),
        ({1: 1.5, 8: 2.0, 16: 1.0}, (16, 1, 8)),
    ],
)
def test_the_finest_alignment_that_pays_comes_first(cost: dict[int, float], order: tuple[int, ...]) -> None:
    assert stairs(cost).alignments() == order


def test_a_staircase_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    measured = []

    def probe(kind: str, exporter: object, threads: int) -> Staircase:
        measured.append(kind)
        return replace(stairs({1: 2.0, 8: 1.5, 16: 1.0}), kind=kind)

    monkeypatch.setattr(staircase, "measured", probe)
    onnx = registry.exporter("onnx")
    first = staircase.staircase("linear", onnx, 1)
    assert staircase.staircase("linear", onnx, 1) == first
    assert staircase.staircase("linear", onnx, 2) == first
    assert measured == ["linear", "linear"], "once for each number of threads"
    (kept, _) = sorted(tmp_path.rglob("*.json"))
    kept.write_text("{}")
    staircase.staircase("linear", onnx, 1)
    staircase.staircase("linear", onnx, 2)
    assert len(measured) == 3, "a broken file is no staircase"


def test_a_staircase_of_the_engine_that_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = staircase.measured("linear", registry.exporter("onnx"), 1, (3, 8, 16))
    assert [step.channels for step in found.steps] == [3, 8, 16]
    assert all(step.nanoseconds > 0 for step in found.steps)
    assert found.engine.startswith("onnxruntime")
    assert sorted(found.alignments()) == [1, 8, 16]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_counts_of_all_alignments_have_one_mean() -> None:
    classes = {a: [c for c in COUNTS if max(b for b in ALIGNMENTS if c % b == 0) == a] for a in ALIGNMENTS}
    assert {a: np.mean(counts) for a, counts in classes.items()} == dict.fromkeys(ALIGNMENTS, 40.0)


# ---- sensitivity ----


def test_errors_grow_with_what_goes_and_the_module_stays() -> None:
    task = nets.task("inverted")
    program = program_of(task, task.model())
    groups = graph_of(program).groups
    before = {name: tensor.clone() for name, tensor in program.module.state_dict().items()}
    every = scores("magnitude", program, groups, [])
    found = sensitivities(program, groups, every, [task.example_inputs()])
    assert [s.layer for s in found] == [g.name for g in groups]
    assert all(len(s.errors) == len(SHARES) and np.isfinite(s.errors).all() for s in found)
    assert all(s.errors[0] > 0 for s in found)
    after = program.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
