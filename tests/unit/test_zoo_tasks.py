"""Every zoo task in a few steps: on its bundled data, on its stand-in, or on data made here in the form of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgedl import Task, zoo
from edgedl.datasets import Dataset
from edgedl.errors import GateFailed, Unavailable
from edgedl.parts import predict_of
from edgedl.zoo import (
    _captions_data,
    _cells_data,
    _mnist_data,
    _multi30k_data,
    _names_data,
    _photos_data,
    _speech_data,
    answers,
    keywords,
    medical,
    speech_ctc,
    summarisation,
    translation,
)  # fmt: skip
from edgedl.zoo._photos_data import Photos
from edgedl.zoo._speech_data import Recording
from edgedl.zoo._split import Split

NAMES = [name for name in zoo.names() if name not in ("digits", "mlp")]
CACHED: tuple[Any, ...] = (
    _names_data.load, _mnist_data.load, _cells_data.load, _photos_data.load, _speech_data.load, keywords.load, speech_ctc.load,
    _multi30k_data.translations, _multi30k_data.descriptions, translation.load, summarisation.load, _captions_data.load, answers.load,
)  # fmt: skip


class EnoughError(Exception):
    """Ends a training after its first steps."""


@pytest.fixture(autouse=True)
def made_data(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No data set can be had; where the bundled digits do not stand in, a few made examples do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for load in CACHED:
        load.cache_clear()
    monkeypatch.setattr(Dataset, "folder", nowhere)
    monkeypatch.setattr(_names_data, "load", lambda: _names_data.divided(surnames()))
    monkeypatch.setattr(_cells_data, "load", lambda: (crops(70), crops(20)))
    monkeypatch.setattr(_photos_data, "load", lambda: (photos(20), photos(4)))
    monkeypatch.setattr(_speech_data, "load", lambda: (words(8), words(2)))
    monkeypatch.setattr(speech_ctc, "TRAINING", 36)
    monkeypatch.setattr(speech_ctc, "TEST", 8)
    monkeypatch.setattr(answers, "TRAINING", 300)
    monkeypatch.setattr(answers, "TEST", 40)
    yield
    for load in CACHED:
        load.cache_clear()
    torch.set_num_threads(threads)


def nowhere(dataset: Dataset, progress: object = None) -> Path:
    raise Unavailable(f"{dataset.name} is not here")


def surnames() -> list[tuple[str, int]]:
    return [(f"{'abcdefghijklmnopqr'[n % 18]}{'xyz' * (n % 5)}{chr(97 + n // 18)}", n % 18) for n in range(180)]


def crops(count: int) -> Split:
    labels = np.arange(count) % 3
    return Split(np.random.default_rng(0).random((count, 3, 32, 32), np.float32), labels)


def photos(count: int) -> Photos:
    """A cell of each kind on every photo."""
    images = np.random.default_rng(0).integers(0, 256, (count, 3, 120, 160), np.uint8)
    boxes = np.array([[0.1, 0.1, 0.3, 0.4], [0.5, 0.5, 0.9, 0.9], [0.7, 0.1, 0.8, 0.2]], np.float32)
    return Photos(images, ((boxes, np.arange(3)),) * count)


def words(takes: int) -> tuple[Recording, ...]:
    """A digit is a tone."""
    seconds = np.arange(2400) / 8000
    tones = [np.sin(2 * np.pi * (200 + 300 * digit) * seconds).astype(np.float32) for digit in range(10)]
    return tuple(Recording(d, s, t, tones[d]) for d in range(10) for s in ("ann", "bob") for t in range(takes))


def begun(task: Task, seed: int, steps: int = 2) -> torch.nn.Module:
    """The model after its first training steps."""

    def stop(done: int, total: int) -> None:
        if done >= steps:
            raise EnoughError

    torch.manual_seed(seed)
    module = task.model()
    assert task.fit
    with pytest.raises(EnoughError):
        task.fit(module, seed, stop)
    return module


@pytest.fixture
def without_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """`fit` asks for the folder so that a download has a progress bar; here it gets one that nobody reads."""
    monkeypatch.setattr(Dataset, "folder", lambda dataset, progress=None: Path("unused"))
    for module in (_mnist_data, _multi30k_data):
        monkeypatch.setattr(module, "fetch", lambda progress=None: None)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_outputs_calibration_and_score(name: str) -> None:
    task = zoo.task(name)
    torch.manual_seed(0)
    predict = predict_of(task, task.model())
    assert predict(task.example_inputs())[task.outputs[0]].shape[0] == 1
    assert task.calibration and task.evaluate
    batches = list(task.calibration())
    assert len(batches) > 1
    for feeds in batches[:2]:
        assert predict(feeds)[task.outputs[0]].shape[0] == len(next(iter(feeds.values())))
    score = task.evaluate(predict)
    assert 0 <= score.value <= 1
    corpus = score.name == "mAP50" or score.name.startswith("BLEU")
    assert score.samples or corpus, "a figure of the whole has no example to each"
    assert not score.samples or score.value == pytest.approx(np.mean(score.samples))


@pytest.mark.usefixtures("without_download")
@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    task = zoo.task(name)
    first, second, other = (begun(task, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.usefixtures("without_download")
@pytest.mark.parametrize(
    "name", ["names_rnn", "mnist_cnn", "speech_ctc", "anomaly", "medical", "translation", "captioner"]
)
def test_a_diverging_loss_closes_the_gate(name: str) -> None:
    task = zoo.task(name)
    module = task.model()
    for parameter in module.parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    assert task.fit
    with pytest.raises(GateFailed, match=r"training diverged: the loss is nan at step 0"):
        task.fit(module, 0, lambda done, total: None)


@pytest.mark.parametrize("name", NAMES)
def test_every_task_tells_what_it_is(name: str) -> None:
    task = zoo.task(name)
    assert task.name == name
    assert task.description
    assert any(licence in task.licence for licence in ("MIT", "CC BY", "Apache-2.0"))
    assert task.dynamic_axes
    module = sys.modules[f"edgedl.zoo.{name}"]
    assert module.__doc__
    assert "Data:" in module.__doc__


def test_listing_needs_no_data_and_no_network(tmp_path: Path) -> None:
    listed = (
        "import socket; socket.socket.connect = None\n"
        "from edgedl import zoo\n"
        "print(*(zoo.task(name).name for name in zoo.names()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", listed], capture_output=True, text=True, env={"HOME": str(tmp_path)}, check=True
    )
    assert done.stdout.split() == zoo.names()
    assert list(tmp_path.iterdir()) == []


def test_the_score_of_the_stand_in_says_so() -> None:
    task = zoo.task("mnist_cnn")
    assert task.evaluate
    score = task.evaluate(lambda feeds: {"logits": np.zeros((len(feeds["image"]), 10), np.float32)})
    assert score.name == "accuracy on the stand-in, digits of scikit-learn"
    assert task.example_inputs()["image"].shape == (1, 1, 28, 28)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("translation", "BLEU on the stand-in, sentences of a small grammar"),
        ("summarisation", "ROUGE-L on the stand-in, sentences of a small grammar"),
        ("captioner", "exact captions on the stand-in, drawn discs"),
        ("answers", "accuracy on generated stories"),
    ],
)
def test_made_data_are_called_that(name: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_photos_data, "load", lambda: nowhere(_cells_data.BCCD))
    task = zoo.task(name)
    assert task.evaluate
    assert task.evaluate(predict_of(task, task.model())).name == told


@pytest.mark.parametrize("name", ["names_rnn", "keywords"])
def test_data_that_cannot_be_had_end_the_training(name: str) -> None:
    task = zoo.task(name)
    assert task.fit
    with pytest.raises(Unavailable, match="is not here"):
        task.fit(task.model(), 0, lambda done, total: None)


def test_transfer_learning_has_three_parts_under_one_bar() -> None:
    """The backbone moves in pre-training, stands while the head learns, and moves again in fine-tuning."""
    task, told = zoo.task("medical"), []
    module = task.model()
    weights: list[dict[str, torch.Tensor]] = []

    def watch(done: int, total: int) -> None:
        told.append(done)
        if done in ends(total):
            weights.append({key: value.clone() for key, value in module.state_dict().items()})

    assert task.fit
    task.fit(module, 0, watch)
    assert told == list(range(1, len(told) + 1))
    pretrained, headed, tuned = weights
    assert equal(pretrained, headed, "backbone")
    assert not equal(pretrained, headed, "head")
    assert not equal(headed, tuned, "backbone")


def ends(total: int) -> list[int]:
    """The last step of each part."""
    return [total * sum(medical.EPOCHS[:part]) // sum(medical.EPOCHS) for part in (1, 2, 3)]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], part: str) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one if key.startswith(part))
