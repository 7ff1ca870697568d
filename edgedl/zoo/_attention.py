"""The attention decoder that the zoo's sequence-to-sequence tasks share, and how it is trained and run.

M.-T. Luong et al., Effective approaches to attention-based neural machine translation, 2015, https://arxiv.org/abs/1508.04025:
an LSTM, dot-product attention over what the encoder has made of the source, both together to the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from edgedl.group import TOKENS, DecodeLoop
from edgedl.spec import Array, Axis, State
from edgedl.task import EncoderDecoder, Part, Predict
from edgedl.zoo._split import as_batches
from edgedl.zoo._text import BEGIN, END, Vocabulary, Words

FAR = -1e4
"""Added to the attention of what only fills a row up."""

SMOOTHING = 0.1
"""Of the labels in training."""


class SentenceEncoder(nn.Module):
    """[batch, length] int64, 0 after the end -> (memory [batch, length, width], mask [batch, length], hidden and cell [batch, width])."""

    def __init__(self, words: int, embedding: int, width: int, dropout: float, bidirectional: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, embedding)
        self.dropout = nn.Dropout(dropout)
        each = width // 2 if bidirectional else width
        self.recurrent = nn.LSTM(embedding, each, batch_first=True, bidirectional=bidirectional)
        self.hidden, self.cell = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        filled = (source != END).float()
        memory, _ = self.recurrent(self.dropout(self.embedding(source)))
        mean = (memory * filled.unsqueeze(2)).sum(1) / filled.sum(1, keepdim=True)
        return memory, (1 - filled) * FAR, torch.tanh(self.hidden(mean)), torch.tanh(self.cell(mean))


class AttentionDecoder(nn.Module):
    """One step: (token [batch] int64, hidden, cell [batch, width], memory [batch, length, width], mask [batch, length])
    -> (logits [batch, words], the next hidden and cell)."""

    def __init__(self, words: int, embedding: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, embedding)
        self.recurrent = nn.LSTM(embedding, width, batch_first=True)
        self.mix = nn.Linear(2 * width, embedding)
        self.head = nn.Linear(embedding, words)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, token: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logits, hidden, cell = self.sequence(token.unsqueeze(1), hidden, cell, memory, mask)
        return logits.squeeze(1), hidden, cell

    def sequence(
        self, tokens: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same for tokens [batch, steps] that are known: logits [batch, steps, words]."""
        start = hidden.unsqueeze(0), cell.unsqueeze(0)
        states, (hidden, cell) = self.recurrent(self.dropout(self.embedding(tokens)), start)
        weights = (states @ memory.transpose(1, 2) + mask.unsqueeze(1)).softmax(2)
        mixed = torch.tanh(self.mix(torch.cat([states, weights @ memory], 2)))
        return self.head(self.dropout(mixed)), hidden.squeeze(0), cell.squeeze(0)


class Seq2Seq(nn.Module):
    """The encoder and the decoder, with one width, and vocabularies of one size. one_language: they share the embedding."""

    def __init__(
        self,
        words: int,
        bidirectional: bool,
        one_language: bool,
        width: int = 128,
        embedding: int = 96,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.encoder = SentenceEncoder(words, embedding, width, dropout, bidirectional)
        self.decoder = AttentionDecoder(words, embedding, width, dropout)
        if one_language:
            self.decoder.embedding = self.encoder.embedding

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Logits [batch, steps, words] of every word of the target, the ones before it known."""
        memory, mask, hidden, cell = self.encoder(source)
        begin = torch.full_like(target[:, :1], BEGIN)
        logits: torch.Tensor = self.decoder.sequence(torch.cat([begin, target[:, :-1]], 1), hidden, cell, memory, mask)[
            0
        ]
        return logits


def error(module: nn.Module, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the target [batch, steps] up to the END that ends it; what fills it up does not count."""
    logits = module(source, target)
    counted = torch.cat([torch.ones_like(target[:, :1]), target[:, :-1]], 1) != END
    return cross_entropy(logits[counted], target[counted], label_smoothing=SMOOTHING)


def decoding(length: int, axis: Axis, words: Callable[[], Mapping[str, Words]]) -> EncoderDecoder:
    """Of a Seq2Seq. length: words of a result at most. axis: of the source. words: the vocabularies, `source` and `tokens`."""
    rows: dict[int, str | Axis] = {0: "batch"}
    axes = dict.fromkeys(("token", "hidden", "cell"), rows) | {name: {**rows, 1: axis} for name in ("memory", "mask")}
    return EncoderDecoder(
        Part(lambda module: module.get_submodule("encoder"), ("memory", "mask", "first_hidden", "first_cell")),
        Part(
            lambda module: module.get_submodule("decoder"), ("logits", "hidden_next", "cell_next"), tuple(axes), axes,
        ),
        DecodeLoop(
            BEGIN, END, length,
            {"hidden": "first_hidden", "cell": "first_cell", "memory": "memory", "mask": "mask"},
            (State("hidden", "hidden_next"), State("cell", "cell_next")),
        ),
        words,
    )  # fmt: skip


@dataclass(frozen=True)
class Pairs:
    """source: [n, length] int64. target: [n, steps] int64, every row with an END. references: the words of the targets."""

    source: Array
    target: Array
    references: tuple[Words, ...]


def pairs(
    examples: Sequence[tuple[Words, Words]], words: tuple[Vocabulary, Vocabulary], length: int, steps: int
) -> Pairs:
    """(source, target) of each example as numbers; a row of the target is one longer than `steps`, for its END."""
    sources, targets = zip(*examples, strict=True)
    return Pairs(words[0].rows(sources, length), words[1].rows(targets, steps + 1), targets)


def told(predict: Predict, vocabulary: Vocabulary, source: Array, size: int = 64) -> list[Words]:
    """The sentences that a predict function makes of the rows of the source."""
    batches = [predict(feeds)[TOKENS] for feeds in as_batches("source", source, size)]
    return [vocabulary.sentence(tokens) for tokens in np.concatenate(batches)]
