"""The search for the cheapest quantization within a budget: its logic on made-up networks, then on a real one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import edgedl
from edgedl import Artifact, Score, Task
from edgedl.cli.quantize import _in_parts
from edgedl.errors import GateFailed, InvalidInput, OutputExists
from edgedl.exporter import Layer, QuantizationOptions
from edgedl.task import Predict
from edgedl.tune.autopilot import autotune
from edgedl.tune.journal import Journal
from edgedl.tune.search import Bench, Found, search
from edgedl.tune.sensitivity import Sensitivity
from edgedl.tune.trial import Trial

BASE = QuantizationOptions()
LAYERS = [Layer(f"layer{n}", "Conv", f"t{n}", 10, 10) for n in range(12)]


def trial(options: QuantizationOptions, drop: float | None, budget: float = 0.01, seconds: float = 0.0) -> Trial:
    """A trial that could not be made has no drop."""
    if drop is None:
        return Trial(options, False, None, math.inf, math.inf, 0, seconds, "not here")
    return Trial(options, drop <= budget, drop, max(0.0, drop - budget), drop, 100, seconds)


def bench(tmp_path: Path, run: Callable[[QuantizationOptions], Trial], seconds: float = 60) -> Bench:
    tmp_path.mkdir(exist_ok=True)
    journal = Journal(tmp_path / "journal", "key")
    return Bench(lambda options, whole: run(options), journal, time.monotonic() + seconds, lambda what, trial: None)


def ranked(order: Iterable[int]) -> list[Sensitivity]:
    return [Sensitivity(LAYERS[n], 3.0, 1.0, LAYERS[n + 1] if n + 1 < len(LAYERS) else None) for n in order]


def network(bad: set[int], cost: float = 0.1, **mended: float) -> Callable[[QuantizationOptions], Trial]:
    """Each bad layer costs so much as long as it is int8; options in `mended` take a share off all of it."""

    def run(options: QuantizationOptions) -> Trial:
        left = [n for n in bad if LAYERS[n].name not in options.keep_float]
        share = math.prod(1 - mended.get(name, 0) for name in options.changed())
        return trial(options, cost * len(left) * share)

    return run


def found(tmp_path: Path, run: Callable[[QuantizationOptions], Trial], order: Iterable[int] = range(12)) -> Found:
    places = list(order)
    return search(bench(tmp_path, run), lambda options: ranked(places), BASE)


def test_what_passes_as_it_is_is_left_alone(tmp_path: Path) -> None:
    result = found(tmp_path, network(set()))
    assert (result.best.options, result.kept, result.trials) == (BASE, (), 1)


def test_a_repair_that_is_enough_keeps_every_layer_in_int8(tmp_path: Path) -> None:
    result = found(tmp_path, network({3}, equalize=1.0))
    assert result.best.options == QuantizationOptions(equalize=True)
    assert result.kept == ()


def test_repairs_that_help_are_kept_and_others_are_not(tmp_path: Path) -> None:
    result = found(tmp_path, network({3, 4}, bias_correction=0.5, calibrator=-1.0))
    assert result.best.options.bias_correction
    assert result.best.options.calibrator == "minmax"
    assert set(result.best.options.keep_float) == {"layer3", "layer4"}


def test_repairs_that_the_format_does_not_have_are_passed_over(tmp_path: Path) -> None:
    def run(options: QuantizationOptions) -> Trial:
        return trial(options, None) if options.equalize or options.smooth else network({1})(options)

    assert found(tmp_path, run).best.options == QuantizationOptions(keep_float=("layer1",))


@settings(max_examples=40)
@given(st.sets(st.integers(0, 11), min_size=1, max_size=12), st.permutations(range(12)))
def test_exactly_the_bad_layers_stay_in_float_whatever_the_ranking(
    tmp_path_factory: pytest.TempPathFactory, bad: set[int], order: list[int]
) -> None:
    result = found(tmp_path_factory.mktemp("search"), network(bad), order)
    assert result.best.passed
    assert set(result.best.options.keep_float) == {LAYERS[n].name for n in bad}
    assert all(kept.without is None or kept.without >= 0.1 for kept in result.kept)
    assert all(kept.operator == "Conv" and kept.sqnr_db == 3.0 for kept in result.kept)


def test_a_budget_that_cannot_be_met_ends_with_the_best(tmp_path: Path) -> None:
    def run(options: QuantizationOptions) -> Trial:
        return trial(options, 0.5 - 0.01 * len(options.keep_float))

    result = found(tmp_path, run)
    assert not result.best.passed
    assert len(result.best.options.keep_float) == 12
    assert not result.out_of_time


def test_the_time_is_a_bound(tmp_path: Path) -> None:
    def run(options: QuantizationOptions) -> Trial:
        return trial(options, 0.5, seconds=1000.0)

    result = search(bench(tmp_path, run, seconds=1), lambda options: ranked(range(12)), BASE)
    assert (result.trials, result.out_of_time) == (1, True)


def test_sixteen_bits_are_tried_before_float_where_that_is_asked_for(tmp_path: Path) -> None:
    def run(options: QuantizationOptions) -> Trial:
        left = [n for n in (3, 7) if LAYERS[n].name not in (*options.wide, *options.keep_float)]
        return trial(options, 0.1 * len(left))

    ranking = lambda options: ranked(range(12))  # noqa: E731
    wide = search(bench(tmp_path / "wide", run), ranking, BASE, ("wide", "keep_float"))
    assert (set(wide.best.options.wide), wide.best.options.keep_float) == ({"layer3", "layer7"}, ())
    assert {(kept.name, kept.how) for kept in wide.kept} == {("layer3", "wide"), ("layer7", "wide")}
    plain = search(bench(tmp_path / "plain", run), ranking, BASE)
    assert (plain.best.options.wide, set(plain.best.options.keep_float)) == ((), {"layer3", "layer7"})


def test_float_comes_where_sixteen_bits_do_not_do(tmp_path: Path) -> None:
    def run(options: QuantizationOptions) -> Trial:
        return trial(options, None) if options.wide else network({4})(options)

    result = search(bench(tmp_path, run), lambda options: ranked(range(12)), BASE, ("wide", "keep_float"))
    assert result.best.options == QuantizationOptions(keep_float=("layer4",))


def test_what_a_part_of_the_examples_flatters_is_found_out_on_all(tmp_path: Path) -> None:
    """Every trial passes on a part once layer 3 is in float; on all examples, layer 7 has to be too."""
    asked: list[tuple[tuple[str, ...], bool]] = []

    def run(options: QuantizationOptions, whole: bool) -> Trial:
        asked.append((options.keep_float, whole))
        made = network({3, 7} if whole else {3})(options)
        return made if whole else replace(made, scored=256, examples=4096)

    def result() -> Found:
        journal = Journal(tmp_path / "journal", "key")
        bench = Bench(run, journal, time.monotonic() + 60, lambda what, trial: None)
        return search(bench, lambda options: ranked([3, 7, 1]), BASE)

    found = result()
    assert (found.best.passed, found.best.scored, set(found.best.options.keep_float)) == (
        True,
        None,
        {"layer3", "layer7"},
    )
    assert (("layer3",), True) in asked, "the first that seemed right was looked at on all examples"
    on_all = sum(whole for _, whole in asked)
    assert found.scored == {(None, None): on_all, (256, 4096): found.trials - on_all}
    before = list(asked)
    assert result().best == found.best
    assert asked == before, "the journal knows which trials were on all examples"


def test_what_there_is_no_time_to_confirm_is_said_to_be_so(tmp_path: Path) -> None:
    def run(options: QuantizationOptions, whole: bool) -> Trial:
        assert not whole
        return replace(trial(options, 0.0, seconds=10.0), scored=256, examples=4096)

    journal = Journal(tmp_path / "journal", "key")
    found = search(Bench(run, journal, time.monotonic() + 60, lambda *_: None), lambda options: [], BASE)
    assert (found.best.passed, found.best.scored, found.out_of_time) == (True, 256, True)
    assert Journal(tmp_path / "journal", "key").trials == [found.best]


def test_a_journal_is_gone_on_from(tmp_path: Path) -> None:
    ran: list[QuantizationOptions] = []

    def run(options: QuantizationOptions) -> Trial:
        ran.append(options)
        if len(ran) == 4:
            raise KeyboardInterrupt
        return network({2, 5})(options)

    with pytest.raises(KeyboardInterrupt):
        found(tmp_path, run)
    first = len(ran)
    result = found(tmp_path, run)
    assert result.best.passed
    assert ran[first:] == [options for options in dict.fromkeys(ran[first:]) if options not in ran[: first - 1]]


def test_a_journal_keeps_what_is_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "key")
    made = [trial(replace(BASE, keep_float=(f"layer{n}",)), 0.1 * n) for n in range(3)]
    infinite = replace(trial(BASE, None), failure="two\nlines")
    for one in (*made, infinite):
        journal.add(one)
    assert Journal(tmp_path / "j", "key").trials == [*made, infinite]
    text = (tmp_path / "j").read_text()
    (tmp_path / "j").write_text(text[:-20])
    assert Journal(tmp_path / "j", "key").trials == made
    lines = text.splitlines(keepends=True)
    (tmp_path / "j").write_text("".join([lines[0], lines[1], lines[2].replace("0.1", "0.7"), *lines[3:]]))
    assert Journal(tmp_path / "j", "key").trials == made[:1]
    assert Journal(tmp_path / "j", "another file").trials == []


@given(st.binary(max_size=200))
def test_a_journal_of_garbage_is_begun_anew(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    path.write_bytes(content)
    assert Journal(path, "key").trials == []


class Uneven(nn.Module):
    """Two layers whose channels differ by a factor of a thousand, between two that are tame."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 32)
        self.third, self.last = nn.Linear(32, 32), nn.Linear(32, 4)
        scales = 10 ** torch.linspace(-1.5, 1.5, 32)
        with torch.no_grad():
            self.second.weight *= scales[:, None]
            self.second.bias *= scales
            self.third.weight /= scales

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        logits: torch.Tensor = self.last(torch.relu(self.third(x)))
        return logits


ROWS = np.random.default_rng(0).standard_normal((256, 16)).astype(np.float32)
with torch.no_grad():
    LABELS = Uneven()(torch.from_numpy(ROWS)).argmax(1).numpy()


def evaluate(predict: Predict) -> Score:
    hits = predict({"x": ROWS})["logits"].argmax(1) == LABELS
    return Score("agreement", float(hits.mean()), samples=tuple(map(float, hits)))


def uneven(**more: object) -> Task:
    given = {"calibration": lambda: [{"x": ROWS[:64]}], "evaluate": evaluate, **more}
    return Task("uneven", Uneven, lambda: {"x": ROWS[:4]}, {"x": {0: "batch"}}, ("logits",), **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["onnx", "tflite"])
def destroyed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return edgedl.export(uneven(), [request.param], tmp_path_factory.mktemp("uneven"))[0]


def test_a_network_that_int8_damages_comes_back(destroyed: Artifact, tmp_path: Path) -> None:
    with pytest.raises(GateFailed):
        edgedl.quantize(destroyed, "w8a8", tmp_path, task=uneven(), max_drop=0.02)
    told: list[str] = []
    made = autotune(destroyed, out=tmp_path, task=uneven(), max_drop=0.02, told=told.append)
    assert made.manifest
    assert made.manifest.evidence["score"]["drop"] <= 0.02
    record = made.manifest.provenance["search"]
    assert record["trials"] == len(told)
    assert "fails" in told[0]
    assert len(record["kept"]) == len(made.manifest.provenance["options"]["keep_float"]) < 4
    assert not list(tmp_path.glob("*.search.jsonl"))
    with pytest.raises(OutputExists):
        autotune(destroyed, out=tmp_path, task=uneven())


def test_a_large_evaluation_set_is_scored_in_parts(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).standard_normal((2048, 16)).astype(np.float32)
    with torch.no_grad():
        labels = Uneven()(torch.from_numpy(rows)).argmax(1).numpy()

    def evaluate(predict: Predict) -> Score:
        hits = np.concatenate([predict({"x": part})["logits"].argmax(1) for part in np.split(rows, 4)]) == labels
        return Score("agreement", float(hits.mean()), samples=tuple(map(float, hits)))

    task, told = uneven(evaluate=evaluate), list[str]()
    (source,) = edgedl.export(task, ["onnx"], tmp_path)
    made = autotune(source, task=task, max_drop=0.05, told=told.append)
    assert "on 256 of 2,048 examples" in told[0]
    assert made.manifest
    record = made.manifest.provenance["search"]
    assert sum(group["trials"] for group in record["scored"]) == record["trials"]
    assert {group["of"] for group in record["scored"]} == {None, 2048}
    assert made.manifest.evidence["score"]["drop"] <= 0.05


@pytest.mark.parametrize(
    ("scored", "said"),
    [
        ([], ""),
        ([{"examples": None, "of": None, "trials": 3}], ""),
        ([{"examples": None, "of": None, "trials": 1}, {"examples": 256, "of": 4096, "trials": 1}],
         "; 1 of them decided on 256 of 4,096 examples, the one found on all"),
        ([{"examples": 1024, "of": 4096, "trials": 2}, {"examples": 256, "of": 4096, "trials": 5}],
         "; 7 of them decided on 256 to 1,024 of 4,096 examples, the one found on all"),
    ],
)  # fmt: skip
def test_the_command_says_on_what_trials_were_decided(scored: list[dict[str, int]], said: str) -> None:
    assert _in_parts({"scored": scored}) == said


def test_a_budget_out_of_reach_says_what_the_best_costs(destroyed: Artifact, tmp_path: Path) -> None:
    with pytest.raises(
        GateFailed,
        match=r"^the budget cannot be met; the best of \d+ trials loses .* (layers kept from|every layer in) int8",
    ):
        autotune(destroyed, out=tmp_path, task=uneven(), max_drop=-0.5)
    assert [path.suffix for path in tmp_path.glob("*.search.jsonl")] == [".jsonl"]
    assert not list(tmp_path.glob(f"uneven.w8a8{destroyed.path.suffix}"))


@pytest.mark.parametrize(
    ("more", "given", "said"),
    [
        ({"evaluate": None}, {}, "needs a score"),
        ({"calibration": None}, {}, "needs calibration inputs"),
        ({}, {"seconds": 0}, "--time 0: expected a number of seconds above 0"),
        ({}, {"seconds": float("nan")}, "--time nan"),
    ],
)
def test_without_data_nothing_is_made_up(
    destroyed: Artifact, tmp_path: Path, more: dict[str, object], given: dict[str, float], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        autotune(destroyed, out=tmp_path, task=uneven(**more), **given)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
