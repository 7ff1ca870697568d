"""The networks whose files get mistakes: small, seeded, with the parts that their outputs are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from coverage_catalogue import classics
from coverage_catalogue.case import BATCH, Case, Input
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

Slice = tuple[int, int, int]
"""(axis, start, stop)"""
IMAGE = Input((BATCH, 3, 32, 32))
STEPS = Input((BATCH, "time", 6))
TOKENS = Input((BATCH, "time"), "integers", 20)


@dataclass(frozen=True)
class Network:
    """parts: number of an output -> what was concatenated in it; its channels by magnitude where nothing was."""

    case: Case
    parts: Mapping[int, tuple[Slice, ...]] = field(default_factory=dict)


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(x)
        return y


class BoxesAndScores(nn.Module):
    """Boxes of 0 to 640 and scores of 0 to 1 in one output."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(classics.conv(3, 16, 3, 2), classics.conv(16, 16, 3, 2))
        self.boxes, self.scores = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        return torch.cat([(self.boxes(y).sigmoid() * 640).flatten(2), self.scores(y).sigmoid().flatten(2)], 1)


class Step(nn.Module):
    """One step of an LSTM, which carries its state outside."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.LSTMCell(6, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> dict[str, torch.Tensor]:
        h_next, c_next = self.cell(x, (h, c))
        return {"y": self.out(h_next), "h_next": h_next, "c_next": c_next}


class MaskedPool(nn.Module):
    """A mean over the steps that a boolean mask keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.widen, self.out = nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        y = torch.where(keep.bool()[..., None], F.gelu(self.widen(x)), torch.zeros(1))
        scores: torch.Tensor = self.out(y.sum(1) / keep.sum(1, keepdim=True))
        return scores


class Shifted(nn.Module):
    """Differences of neighbours, padded, beside their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change = F.pad(x[:, 1:] - x[:, :-1], (0, 0, 1, 0))
        y: torch.Tensor = self.out(torch.cat([x, change], -1))
        return y.tanh()


def networks() -> list[Network]:
    timed, steps, image = (BATCH, "time"), {"x": STEPS}, {"image": IMAGE}
    mask = {"tokens": TOKENS, "mask": Input((BATCH, "time"), "prefix")}
    ids = {
        "user": Input((BATCH,), "integers", 40),
        "item": Input((BATCH,), "integers", 30),
        "numbers": Input((BATCH, 4)),
    }
    state = {"x": Input((BATCH, 6)), "h": Input((BATCH, 8), "within"), "c": Input((BATCH, 8))}
    of_images = (
        "vgg",
        "resnet",
        "mobilenet-v1",
        "mobilenet-v3",
        "densenet",
        "unet-transposed",
        "autoencoder",
        "mixer",
        "squeezenet",
    )
    of_steps = ("lstm", "gru", "lstm-bidirectional", "rnn", "tcn", "speech")
    parts = {0: ((1, 0, 4), (1, 4, 10))}
    decoded = {0: ((2, 0, 2), (2, 2, 4), (2, 4, 7))}
    return [
        _network("mlp", Mlp, {"x": Input((BATCH, 20))}),
        *(_network(name, classics.IMAGES[name], image) for name in of_images),
        _network("boxes-and-scores", BoxesAndScores, image, parts=parts),
        _network("detector", classics.Detector, image, parts=decoded),
        _network("siamese", classics.Siamese, {"left": IMAGE, "right": IMAGE}),
        _network("variational-autoencoder", classics.VariationalAutoencoder, {"x": Input((BATCH, 20))}),
        _network("recommender", classics.Recommender, ids),
        _network("streaming-step", Step, state),
        *(_network(name, classics.SEQUENCES[name], steps, timed) for name in of_steps),
        _network("transformer", classics.Transformer, mask, timed),
        _network("causal-transformer", classics.Causal, {"tokens": TOKENS}, timed),
        _network("token-classifier", classics.TokenClassifier, {"tokens": TOKENS}, timed),
        _network("masked-pool", MaskedPool, {"x": STEPS, "keep": Input((BATCH, "time"), "prefix")}, timed),
        _network("shifted", Shifted, steps, timed),
    ]


def _network(
    name: str, make: classics.Make, inputs: Mapping[str, Input], axes: tuple[str, ...] = (BATCH,),
    parts: Mapping[int, tuple[Slice, ...]] | None = None,
) -> Network:  # fmt: skip
    return Network(Case("gate", name, make, inputs, (axes,)), parts or {})
