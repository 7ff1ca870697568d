"""Captions of blood-smear photos: a CNN encoder that counts and an LSTM decoder that writes, word by word, as an artifact group.

Data: 364 photos, BCCD_Dataset, MIT, with captions made of the counted annotations (see _captions_data). The encoder is first
taught to draw a density map of each kind of cell, whose sum is a count; then the decoder learns the captions.
Without the photos drawn discs stand in, and the score says so.
"""

from __future__ import annotations

import contextlib

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from edgedl.errors import Unavailable
from edgedl.group import TOKENS, DecodeLoop
from edgedl.loop import Loop, Stage
from edgedl.spec import Array, Axis, State
from edgedl.task import EncoderDecoder, Part, Predict, Progress, Score, Task
from edgedl.zoo import _captions_data as data
from edgedl.zoo._cells_data import BCCD, LICENCE
from edgedl.zoo._photos_data import as_input
from edgedl.zoo._separable import convolution
from edgedl.zoo._split import as_batches
from edgedl.zoo._text import BEGIN, END, Words

WIDTH = 64
COUNTS = (0.1, 1.0, 1.0)
"""What the counts of each kind are multiplied by: there are ten times as many red cells."""


class Encoder(nn.Module):
    """[batch, 3, 120, 160] float32 in 0..1 -> [batch, 3], the counts of red cells (a tenth of it), white cells and platelets.

    Counts, and nothing made of them: eight bits move a count by a few hundredths, and a network behind them would enlarge that.
    """

    scale: torch.Tensor

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            convolution(3, width, 3, 2), convolution(width, 2 * width, 3, 2), convolution(2 * width, 2 * width, 3),
            convolution(2 * width, 4 * width, 3, 2), convolution(4 * width, 4 * width, 3), nn.Conv2d(4 * width, 3, 1), nn.ReLU(),
        )  # fmt: skip
        self.register_buffer("scale", torch.tensor(COUNTS), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        counts: torch.Tensor = self.features(image).sum((2, 3)) * self.scale
        return counts


class Decoder(nn.Module):
    """One step: (token [batch] int64, counts [batch, 3], hidden, cell [batch, 64]) -> (logits [batch, words], the next hidden and cell)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(data.VOCABULARY.words), 32)
        self.seen = nn.Sequential(nn.Linear(3, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.Tanh())
        self.recurrent = nn.LSTM(32 + WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, len(data.VOCABULARY.words))

    def forward(
        self, token: torch.Tensor, counts: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        read = torch.cat([self.embedding(token), self.seen(counts)], 1).unsqueeze(1)
        states, (hidden, cell) = self.recurrent(read, (hidden.unsqueeze(0), cell.unsqueeze(0)))
        return self.head(states).squeeze(1), hidden.squeeze(0), cell.squeeze(0)

    def sequence(self, tokens: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Logits [batch, steps, words] of tokens [batch, steps] that are known."""
        beside = self.seen(counts).unsqueeze(1).expand(-1, tokens.shape[1], -1)
        states, _ = self.recurrent(torch.cat([self.embedding(tokens), beside], 2))
        logits: torch.Tensor = self.head(states)
        return logits


class Captioner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()

    def forward(self, image: torch.Tensor, caption: torch.Tensor) -> torch.Tensor:
        """Logits [batch, steps, words] of every word of the caption, the ones before it known."""
        begin = torch.full_like(caption[:, :1], BEGIN)
        return self.decoder.sequence(torch.cat([begin, caption[:, :-1]], 1), self.encoder(image))


def count_error(module: nn.Module, image: torch.Tensor, density: torch.Tensor) -> torch.Tensor:
    """Of the density maps, and of the counts that they sum up to; pictures turned over and of another brightness."""
    for axis in (2, 3):
        if torch.rand(()) < 0.5:
            image, density = image.flip(axis), density.flip(axis)
    bright = 0.8 + 0.4 * torch.rand(len(image), 1, 1, 1, device=image.device)
    assert isinstance(module, Captioner)
    drawn = module.encoder.features(image.float() / 255 * bright)
    counts = (drawn - density).sum((2, 3)) * module.encoder.scale
    error: torch.Tensor = 20 * mse_loss(drawn, density) + 0.02 * counts.abs().mean()
    return error


def caption_error(module: nn.Module, image: torch.Tensor, caption: torch.Tensor) -> torch.Tensor:
    return cross_entropy(module(image.float() / 255, caption).flatten(0, 1), caption.flatten())


def counting(progress: Progress) -> tuple[Array, Array]:
    with contextlib.suppress(Unavailable):
        BCCD.folder(progress)
    part = data.load()[0]
    return part.images, part.density


def writing(_: Progress) -> tuple[Array, Array]:
    part = data.load()[0]
    return part.images, part.captions


def example() -> dict[str, Array]:
    return {"image": as_input(data.load()[0].images[:1])}


def calibration() -> list[dict[str, Array]]:
    """128 training photos in batches of 16."""
    return as_batches("image", as_input(data.load()[0].images[:128]))


def exact(predict: Predict) -> Score:
    """Share of the held-out photos whose caption is right in every word; its name says which data."""
    _, test, what = data.load()
    tokens = np.concatenate([predict(feeds)[TOKENS] for feeds in as_batches("image", as_input(test.images), 24)])
    right = (tokens[:, : data.LENGTH] == test.captions).all(1)
    return Score(f"exact captions on {what}", float(right.mean()), samples=tuple(map(float, right)))


def vocabularies() -> dict[str, Words]:
    return {TOKENS: data.VOCABULARY.words}


def task() -> Task:
    batch: dict[int, str | Axis] = {0: "batch"}
    axes = dict.fromkeys(("token", "counts", "hidden", "cell"), batch)
    decoding = EncoderDecoder(
        Part(lambda module: module.get_submodule("encoder"), ("counts",)),
        Part(lambda module: module.get_submodule("decoder"), ("logits", "hidden_next", "cell_next"), tuple(axes), axes),
        DecodeLoop(
            BEGIN, END, data.LENGTH, {"counts": "counts"},
            (State("hidden", "hidden_next"), State("cell", "cell_next")), {"hidden": (WIDTH,), "cell": (WIDTH,)},
        ),
        vocabularies,
    )  # fmt: skip
    stages = (
        Stage(count_error, counting, epochs=40, learning_rate=4e-3, batch=4, clip=1.0),
        Stage(caption_error, writing, epochs=30, learning_rate=5e-3, batch=8, clip=1.0, frozen=("encoder.features",)),
    )
    return Task(
        "captioner", Captioner, example, {"image": batch}, ("tokens",), calibration, exact, Loop(stages),
        "CNN encoder, LSTM decoder: captions of blood-smear photos", LICENCE, decoding=decoding,
    )  # fmt: skip
