"""The record of a training and its page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgedl
from edgedl import Score, Task
from edgedl.engine import Engine
from edgedl.errors import GateFailed, InvalidInput, InvalidReference
from edgedl.measure.energy import Energy
from edgedl.measure.environment import environment
from edgedl.report.training import curve, pages, sentence
from edgedl.task import Predict, Progress
from edgedl.training_record import POINTS, Result, TrainingRecord
from edgedl.training_record import curve as shortened

RECORD = TrainingRecord(
    "net", "a net | of rows", "CC0", 7, "2 epochs", Engine("cpu"), "cpu", 1234, 4, 2.5, 0, (2.0, 1.0, 0.5, 0.25),
    environment(), Result("accuracy", 0.75, True, 20), None, "no counter",
)  # fmt: skip
MEASURED = Energy(120.0, "measured", "RAPL package-0", 3.0, 2.5, 10.0)


def test_a_record_survives_json(tmp_path: Path) -> None:
    for record in (RECORD, replace(RECORD, energy=MEASURED, energy_reason=None, grid=400.0, score=None)):
        (tmp_path / "r.json").write_text(record.to_json())
        assert TrainingRecord.open(tmp_path / "r.json") == record


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "edgedl-benchmark"}', '{"kind": "edgedl-training"}'])
def test_what_is_no_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(InvalidInput, match=r"r\.json"):
        TrainingRecord.open(tmp_path / "r.json")


def test_what_was_not_measured_is_said_to_be_so() -> None:
    page = pages(RECORD)["net.training.md"].decode()
    assert "- Energy: not measured: no counter" in page
    assert "- CO2: not told: the energy was not measured" in page
    assert RECORD.co2 is None


def test_energy_names_its_method_and_co2_its_grid() -> None:
    page = pages(replace(RECORD, energy=MEASURED, grid=300.0))["net.training.md"].decode()
    assert "120 J +- 3 above idle, measured by RAPL package-0" in page
    assert "- CO2: 0.01 g, from the energy above and the stated 300 g/kWh" in page
    without = pages(replace(RECORD, energy=MEASURED))["net.training.md"].decode()
    assert "not told: it takes --grid, the grams of CO2 per kWh" in without.replace("\\", "")


def test_the_page_tells_all_and_loads_nothing() -> None:
    html = pages(replace(RECORD, description="<script>alert(1)</script>"))["net.training.html"].decode()
    assert "<script>alert" not in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    for told in (
        "accuracy 0.75 on 20 held-out examples",
        "4 steps in 2.50 s on cpu",
        "CC0",
        "1,234",
        "2 at first, 0.25 at last",
    ):
        assert told in html
    assert 'class="w0 curve"' in html


def test_the_curve_of_one_step_and_of_none() -> None:
    assert curve((), 0) == ""
    assert "<svg" in curve((0.0,), 1)
    assert "<svg" in curve((-1.0, 3.0), 2)


def test_a_long_curve_is_shortened_to_means() -> None:
    losses = tuple(float(n) for n in range(3 * POINTS + 1))
    points = shortened(losses)
    assert len(points) <= POINTS
    assert points[0] == 1.5
    assert shortened((1.0, 2.0)) == (1.0, 2.0)
    assert shortened(()) == ()


def test_a_resumed_training_says_so() -> None:
    page = pages(replace(RECORD, resumed=2, energy=MEASURED))["net.training.md"].decode()
    assert "the last run from step 2" in page
    assert "the last run alone" in page
    assert sentence(replace(RECORD, score=None)).startswith("net: trained; the task has no score, 4 steps")


def task(fit: object) -> Task:
    rows = np.ones((2, 4), np.float32)

    def mean(predict: Predict) -> Score:
        return Score("mean", float(predict({"x": rows})["output"].mean()))

    return Task("own", lambda: nn.Linear(4, 2), lambda: {"x": rows}, evaluate=mean, fit=fit)  # type: ignore[arg-type]


def constant(module: nn.Module, seed: int, progress: Progress) -> nn.Module:
    nn.init.constant_(module.weight, 0.5)  # type: ignore[arg-type]
    progress(1, 1)
    return module


def test_a_function_as_fit(tmp_path: Path) -> None:
    path, score = edgedl.train(task(constant), tmp_path)
    assert score
    record = TrainingRecord.open(path.with_suffix(".training.json"))
    assert (record.fit, record.steps, record.losses) == ("the task's own function", 0, ())
    assert record.score == Result("mean", score.value, True, 0)
    left = sorted(p.name.removeprefix("own.") for p in tmp_path.iterdir())
    assert left == ["safetensors", "training.html", "training.json", "training.md"]


def test_a_function_as_fit_takes_no_engine(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"the fit of own is a function.*for a fit that is an edgedl\.Loop"):
        edgedl.train(task(constant), tmp_path, engine=Engine("cpu", devices=2))


def returns_nothing(module: nn.Module, seed: int, progress: Progress) -> None:
    pass


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        (
            lambda model: model,
            r"is called as fit\(module, seed, progress\), which it does not take: too many positional",
        ),
        (returns_nothing, r"returned NoneType, expected the trained module: end it with `return module`"),
    ],
)
def test_a_function_that_is_no_fit(fit: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidReference, match=f"the fit of 'own' {said}"):
        edgedl.train(task(fit), tmp_path)


class Causal(nn.Linear):
    """A linear layer with a causal mask beside it."""

    def __init__(self) -> None:
        super().__init__(4, 2)
        self.register_buffer("mask", torch.triu(torch.full((3, 3), float("-inf")), 1))


def test_a_mask_of_infinities_has_not_diverged(tmp_path: Path) -> None:
    path, _ = edgedl.train(replace(task(constant), model=Causal), tmp_path)
    assert path.is_file()


def test_a_function_that_raises_or_diverges(tmp_path: Path) -> None:
    def broken(module: nn.Module, seed: int, progress: Progress) -> nn.Module:
        raise ValueError("no such file: train.csv")

    def diverging(module: nn.Module, seed: int, progress: Progress) -> nn.Module:
        nn.init.constant_(module.weight, torch.nan)  # type: ignore[arg-type]
        return module

    with pytest.raises(InvalidReference, match=r"the fit of 'own' raised: .*no such file: train\.csv"):
        edgedl.train(task(broken), tmp_path)
    with pytest.raises(GateFailed, match="training diverged: the weights 'weight' are not finite"):
        edgedl.train(task(diverging), tmp_path)
    assert list(tmp_path.iterdir()) == []
