"""The page of the whole zoo: kept, resumed, and plain about what failed."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from edgedl import zoo_report as module
from edgedl.errors import GateFailed, UnknownName
from edgedl.measure.codec import decode
from edgedl.measure.energy import Energy
from edgedl.measure.statistics import Estimate
from edgedl.report.zoo import pages
from edgedl.zoo_report import ZooEntry, ZooRow, zoo_report

ROW = ZooRow("mlp.w8.onnx", "w8", "ONNX Runtime", 61_000, 0.978, 0.0, Estimate(5000.0, 4900.0, 5100.0), True)
COUNTED = replace(ROW, name="mlp.onnx", energy=Energy(2.5e-6, "measured", "RAPL", 1e-7))
ENTRY = ZooEntry(
    "mlp", "a | perceptron", "CC BY 4.0", "recipe", "accuracy", (ROW, COUNTED, replace(ROW, name="zoo:mlp", proven=None, drop=None)),
    ("mlp.w8a8.onnx: it would not pay",), "mlp: accuracy 0.978, 630 steps", "not measured: no counter", "Ship it",
)  # fmt: skip


def test_an_entry_survives_json() -> None:
    assert decode(ZooEntry, json.loads(json.dumps(asdict(ENTRY))), "entry") == ENTRY


def test_both_pages_tell_the_same() -> None:
    failed = ZooEntry(
        "keywords", "spotting", "CC BY-SA 4.0", "recipe", failure="the data are not here", no_energy="RAPL: none"
    )
    files = pages((ENTRY, failed))
    for page in (files["zoo.html"], files["zoo.md"].replace("\\", "")):
        for told in (
            "CC BY 4.0",
            "61.0 kB",
            "accuracy 0.978",
            "5.00 µs",
            "2.50 µJ +- 100 nJ",
            "RAPL: none",
            "not measured: no counter",
            "it would not pay",
        ):
            assert told in page
        assert "keywords: the data are not here" in page
    assert json.loads(files["zoo.json"])["tasks"][1]["failure"] == "the data are not here"


def test_what_is_finished_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def carried(name: str, folder: Path, recipe: module.Recipe, *rest: object) -> ZooEntry:
        done.append(name)
        entry = replace(ENTRY, task=name, recipe=recipe.to_toml())
        folder.mkdir(parents=True)
        (folder / "zoo.json").write_text(json.dumps(asdict(entry)))
        return entry

    monkeypatch.setattr(module, "_carried", carried)
    first = zoo_report(["mlp", "digits"], tmp_path)
    (tmp_path / "digits" / "zoo.json").write_text("{")
    (tmp_path / "digits" / "zoo.json").rename(tmp_path / "broken")
    (tmp_path / "digits").rmdir()
    again = zoo_report(["mlp", "digits", "mlp"], tmp_path)
    assert done == ["mlp", "digits", "digits"]
    assert [entry.task for entry in again] == ["mlp", "digits"]
    assert first == again
    assert sorted(path.name for path in tmp_path.glob("zoo.*")) == ["zoo.html", "zoo.json", "zoo.md"]


def test_a_task_that_fails_has_its_sentence_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*words: object, **options: object) -> None:
        raise GateFailed("nothing could be proven")

    monkeypatch.setattr(module, "optimize", failing)
    entries = zoo_report(["mlp", "digits"], tmp_path)
    assert [entry.failure for entry in entries] == ["nothing could be proven"] * 2
    assert "Failed" in (tmp_path / "zoo.md").read_text()


def test_a_name_that_the_zoo_has_not(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'digits'"):
        zoo_report(["digit"], tmp_path)
