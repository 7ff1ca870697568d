"""A small encoder-decoder that writes a row of digits backwards; token 0 ends, token 1 begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from edgedl import DecodeLoop, EncoderDecoder, Part, Score, State, Task

WORDS = (".", "^", *"abcdefgh")
HIDDEN, DIGITS = 12, 4
ROWS = np.random.default_rng(0).integers(2, len(WORDS), (96, DIGITS))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), 8)
        self.recurrent = nn.GRU(8, HIDDEN, batch_first=True)

    def forward(self, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        memory, last = self.recurrent(self.embedding(source))
        return memory, last.squeeze(0)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), 8)
        self.cell = nn.GRUCell(8 + HIDDEN, HIDDEN)
        self.out = nn.Linear(2 * HIDDEN, len(WORDS))

    def forward(
        self, token: torch.Tensor, hidden: torch.Tensor, context: torch.Tensor, memory: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        hidden = self.cell(torch.cat([self.embedding(token), context], 1), hidden)
        context = ((memory @ hidden.unsqueeze(2)).softmax(1) * memory).sum(1)
        return self.out(torch.cat([hidden, context], 1)), hidden, context


class Reverser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()


def model() -> Reverser:
    torch.manual_seed(0)
    return Reverser()


def calibration() -> Iterator[dict[str, Any]]:
    return ({"source": ROWS[start : start + 16]} for start in range(0, 64, 16))


def evaluate(predict: Any) -> Score:
    """How many first tokens are the last digit."""
    hits = predict({"source": ROWS[64:]})["tokens"][:, 0] == ROWS[64:, -1]
    return Score("first right", float(hits.mean()), samples=tuple(map(float, hits)))


LOOP = DecodeLoop(
    begin=1, end=0, length=6,
    feeds={"hidden": "last", "memory": "memory"},
    states=(State("hidden", "hidden_next"), State("context", "context_next")),
    zeros={"context": (HIDDEN,)},
)  # fmt: skip
DECODER = ("token", "hidden", "context", "memory")
task = Task(
    "reverse", model, lambda: {"source": ROWS[:2]}, {"source": {0: "batch"}}, (), calibration, evaluate,
    decoding=EncoderDecoder(
        Part(lambda module: module.encoder, ("memory", "last")),
        Part(
            lambda module: module.decoder, ("logits", "hidden_next", "context_next"), DECODER,
            {name: {0: "batch"} for name in DECODER},
        ),
        LOOP,
        lambda: {"source": WORDS, "tokens": WORDS},
    ),
)  # fmt: skip


def with_loop(**changes: Any) -> Task:
    """The task with another loop."""
    assert task.decoding
    return replace(task, decoding=replace(task.decoding, loop=replace(LOOP, **changes)))


def with_part(name: str, **changes: Any) -> Task:
    """The task with another encoder or decoder."""
    assert task.decoding
    return replace(task, decoding=replace(task.decoding, **{name: replace(getattr(task.decoding, name), **changes)}))
