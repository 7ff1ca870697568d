"""Speech recognition: convolutions and a bidirectional GRU under CTC write down a sequence of spoken digits.

Data: Free Spoken Digit Dataset, CC BY-SA 4.0 (see _speech_data). A sequence is one to four real recordings of one speaker,
one after the other with short pauses, 2.6 seconds at most, drawn with a fixed seed; training and test sequences come from
the two parts of the official split. Log-mel front end (see _logmel); greedy decoding in numpy (see _ctc).
The score is the share of test sequences of which every digit is right: 0.98. The speakers are in both parts; each speaker
in turn left out of the training: 0.35.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import ctc_loss

from edgedl.loop import Loop, Stage
from edgedl.spec import Array, Axis
from edgedl.task import Predict, Processing, Progress, Score, Task
from edgedl.zoo import _speech_data as data
from edgedl.zoo._ctc import BLANK, greedy
from edgedl.zoo._logmel import BANDS, FRAME, HOP, log_mel
from edgedl.zoo._speech_data import Recording
from edgedl.zoo._split import as_batches

STEPS = 80
"""Of two frames, 32 ms, each."""

SAMPLES = FRAME + (2 * STEPS - 1) * HOP
LONGEST = 4
PAUSE = 1600
"""Samples of silence between two words, at most."""

TRAINING, TEST = 2400, 300
"""Sequences."""


@dataclass(frozen=True)
class Sequences:
    """spectra: [n, 80 steps, 64] float32; labels: [n, 4] int64, digit + 1, filled up with 0; lengths: [n] int64."""

    spectra: Array
    labels: Array
    lengths: Array


class SpeechCTC(nn.Module):
    """[batch, steps, 64] float32, two frames of log-mel each -> [batch, steps, 11] logits: blank, zero, one ... nine."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(2 * BANDS, width, 3, padding=1), nn.ReLU(), nn.Conv1d(width, width, 3, padding=1), nn.ReLU()
        )
        self.recurrent = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, 11)

    def forward(self, spectrum: torch.Tensor) -> torch.Tensor:
        features = self.convolutions(spectrum.transpose(1, 2)).transpose(1, 2)
        states, _ = self.recurrent(features)
        logits: torch.Tensor = self.head(states)
        return logits


def sequences(recordings: Sequence[Recording], count: int, seed: int) -> Sequences:
    """`count` sequences of words of one speaker each."""
    generator = np.random.default_rng(seed)
    speakers = sorted({r.speaker for r in recordings})
    by_speaker = [[r for r in recordings if r.speaker == speaker] for speaker in speakers]
    spectra, labels = np.zeros((count, STEPS, 2 * BANDS), np.float32), np.zeros((count, LONGEST), np.int64)
    for row in range(count):
        signal, digits = _said(by_speaker[generator.integers(len(speakers))], generator)
        spectra[row] = log_mel(np.pad(signal, (0, SAMPLES - len(signal)))).reshape(STEPS, -1)
        labels[row, : len(digits)] = np.array(digits) + 1
    return Sequences(spectra, labels, (labels != BLANK).sum(1))


def _said(words: Sequence[Recording], generator: np.random.Generator) -> tuple[Array, list[int]]:
    """(signal, digits): one to four words, as many as fit."""
    signal, digits = np.zeros(0, np.float32), []
    for index in generator.integers(len(words), size=generator.integers(1, LONGEST + 1)):
        longer = np.concatenate([signal, np.zeros(generator.integers(PAUSE), np.float32), words[index].signal])
        if len(longer) <= SAMPLES:
            signal = longer
            digits.append(words[index].digit)
    return (signal, digits) if digits else (words[0].signal[:SAMPLES], [words[0].digit])


@functools.cache
def load() -> tuple[Sequences, Sequences]:
    """(training, test)."""
    training, test = data.load()
    return sequences(training, TRAINING, 0), sequences(test, TEST, 1)


def example() -> dict[str, Array]:
    return {"spectrum": load()[0].spectra[:1]}


def calibration() -> list[dict[str, Array]]:
    """128 training sequences in batches of 16."""
    return as_batches("spectrum", load()[0].spectra[:128])


def exact(predict: Predict) -> Score:
    """Share of the test sequences that are recognised without any mistake."""
    test = load()[1]
    logits = np.concatenate([predict(feeds)["logits"] for feeds in as_batches("spectrum", test.spectra, 64)])
    told = [labels[labels != BLANK].tolist() for labels in test.labels]
    right = [float(greedy(rows) == labels) for rows, labels in zip(logits, told, strict=True)]
    return Score("exact sequences", float(np.mean(right)), samples=tuple(right))


def training(progress: Progress) -> tuple[Array, Array, Array]:
    data.SPOKEN.folder(progress)
    part = load()[0]
    return part.spectra, part.labels, part.lengths


def error(module: nn.Module, spectra: torch.Tensor, labels: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """CTC loss of sequences that are all of STEPS steps."""
    scores = module(spectra).log_softmax(2).transpose(0, 1)
    steps = torch.full((len(labels),), len(scores))
    return ctc_loss(scores, labels, steps, lengths, blank=BLANK)


def waveforms() -> list[Array]:
    """The first of the test recordings, filled up with silence to one length."""
    return [np.pad(r.signal, (0, max(0, SAMPLES - len(r.signal))))[:SAMPLES] for r in data.load()[1][:16]]


def heard(signal: Array) -> dict[str, Array]:
    return {"spectrum": log_mel(signal).reshape(1, STEPS, -1)}


def task() -> Task:
    return Task(
        "speech_ctc", SpeechCTC, example, {"spectrum": {0: Axis("batch", 1, 4), 1: Axis("steps", 4, STEPS)}}, ("logits",), calibration, exact,
        Loop((Stage(error, training, epochs=9, batch=32, clip=1.0),)), "CTC speech recognition: sequences of spoken digits", data.LICENCE,
        processing=Processing(waveforms, heard, lambda outputs: greedy(outputs["logits"][0])),
    )  # fmt: skip
