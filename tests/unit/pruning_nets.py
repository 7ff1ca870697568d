"""Tiny networks of every kind that can be pruned, each with its inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.functional import relu6

from edgedl.spec import Array
from edgedl.task import Task


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.first, self.second = nn.Conv2d(16, 24, 3, padding=1), nn.Conv2d(24, 16, 3, padding=1)
        self.head = nn.Linear(16 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.stem(x)).relu()
        x = x + self.second(self.first(x).relu())
        logits: torch.Tensor = self.head(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))
        return logits


class Inverted(nn.Module):
    """Expand, depthwise, gate by squeeze and excitation, project, with a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.expand = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 32, 1)
        self.depthwise, self.norm = nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.BatchNorm2d(32)
        self.squeeze, self.excite = nn.Linear(32, 8), nn.Linear(8, 32)
        self.project, self.head = nn.Conv2d(32, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = relu6(self.norm(self.depthwise(relu6(self.expand(x)))))
        y = y * self.excite(self.squeeze(y.mean((2, 3))).relu()).sigmoid()[:, :, None, None]
        out: torch.Tensor = self.head(x + self.project(y)).mean((2, 3))
        return out


class Concatenating(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 12, 3, padding=1)
        self.mixed, self.head = nn.Conv2d(20, 16, 3, padding=1), nn.Linear(36, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = torch.cat([self.left(x), self.right(x)], 1).relu()
        out: torch.Tensor = self.head(torch.cat([both, self.mixed(both)], 1).mean((2, 3)))
        return out


class Dense(nn.Module):
    """Concatenations of concatenations, the last one flattened with its places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.third, self.head = nn.Conv2d(16, 8, 3, padding=1), nn.Linear(24 * 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x).relu()
        both = torch.cat([first, self.second(first).relu()], 1)
        joined = torch.cat([both, self.third(both).relu()], 1)
        out: torch.Tensor = self.head(nn.functional.adaptive_avg_pool2d(joined, 2).flatten(1))
        return out


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.grouped = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 24, 3, groups=4)
        self.norm, self.up, self.head = nn.GroupNorm(4, 24), nn.ConvTranspose2d(24, 12, 2), nn.Conv2d(12, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.up(self.norm(self.grouped(self.stem(x).relu())).relu()).relu())
        return out


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], layers: int, both: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 12)
        self.recurrent = kind(12, 16, layers, batch_first=True, bidirectional=both)  # type: ignore[call-arg, arg-type]
        self.narrow, self.head = nn.Linear(16 * (1 + both), 10), nn.Linear(10, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states, _ = self.recurrent(self.embedding(tokens))
        out: torch.Tensor = self.head(self.narrow(states).relu().mean(1))
        return out


class FinalState(nn.Module):
    """What a bidirectional GRU has seen at both ends; [time, batch, features]."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.head = nn.GRU(6, 16, 2, bidirectional=True), nn.Linear(32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, final = self.recurrent(x)
        out: torch.Tensor = self.head(torch.cat([final[-2], final[-1]], 1))
        return out


class Attending(nn.Module):
    """One weight for each step, the same for all features of it."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(6, 16, batch_first=True)
        self.key, self.score, self.head = nn.Linear(16, 12), nn.Linear(12, 1), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, _ = self.recurrent(x)
        weights = self.score(self.key(states).tanh()).softmax(1)
        out: torch.Tensor = self.head((weights * states).sum(1))
        return out


class EncoderDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.LSTM(6, 16, batch_first=True), nn.LSTM(5, 16, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        _, state = self.encoder(source)
        out: torch.Tensor = self.head(self.decoder(target, state)[0])
        return out


class Encoder(nn.Module):
    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, 0.0, batch_first=batch_first)
        self.embedding, self.encoder = nn.Embedding(11, 16), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.encoder(self.embedding(tokens)))
        return out


class Attention(nn.Module):
    """Separate projections; the code keeps the number of heads and the width of all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.inner = 4, 32
        self.q, self.k, self.v, self.out = nn.Linear(12, 32), nn.Linear(12, 32), nn.Linear(12, 32), nn.Linear(32, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, time, _ = x.shape
        q, k, v = (
            part(x).view(batch, time, self.num_heads, self.inner // self.num_heads).transpose(1, 2)
            for part in (self.q, self.k, self.v)
        )
        seen = nn.functional.scaled_dot_product_attention(q, k, v)
        out: torch.Tensor = self.out(seen.transpose(1, 2).reshape(batch, time, self.inner))
        return out


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(12), Attention()
        self.widen, self.narrow, self.head = nn.Linear(12, 24), nn.Linear(24, 12), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm(x))
        out: torch.Tensor = self.head(x + self.narrow(self.widen(x).relu()))
        return out


class Tied(nn.Module):
    """One matrix that reads and writes words."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.recurrent = nn.Embedding(11, 16), nn.GRU(16, 16, batch_first=True)
        self.back, self.head = nn.Linear(16, 16), nn.Linear(16, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        embedded = self.embedding(tokens)
        out: torch.Tensor = self.head(embedded + self.back(self.recurrent(embedded)[0]))
        return out


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 32), nn.LayerNorm(32), nn.PReLU(32), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 3)
    )


IMAGE, ROWS = (2, 3, 8, 8), (2, 5, 6)
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (mlp, (3, 6)),
    "residual": (Residual, IMAGE),
    "inverted": (Inverted, IMAGE),
    "concatenating": (Concatenating, IMAGE),
    "dense": (Dense, IMAGE),
    "grouped": (Grouped, IMAGE),
    "rnn": (lambda: Recurrent(nn.RNN, 1, False), (2, 7)),
    "lstm": (lambda: Recurrent(nn.LSTM, 2, False), (2, 7)),
    "bilstm": (lambda: Recurrent(nn.LSTM, 2, True), (2, 7)),
    "bigru": (lambda: Recurrent(nn.GRU, 3, True), (2, 7)),
    "final_state": (FinalState, (5, 2, 6)),
    "attending": (Attending, (2, 5, 6)),
    "encoder_decoder": (EncoderDecoder, ROWS),
    "encoder": (Encoder, (2, 7)),
    "encoder_time_first": (lambda: Encoder(False), (7, 2)),
    "block": (Block, (2, 5, 12)),
    "tied": (Tied, (2, 7)),
}


def inputs(name: str) -> dict[str, Array]:
    generator, shape = np.random.default_rng(0), NETS[name][1]
    if (len(shape) == 2 and shape[1] == 7) or shape == (7, 2):
        return {"tokens": generator.integers(0, 11, shape)}
    made = {"x": generator.standard_normal(shape).astype(np.float32)}
    if name == "encoder_decoder":
        made["y"] = generator.standard_normal((2, 4, 5)).astype(np.float32)
    return made


def task(name: str) -> Task:
    def model() -> nn.Module:
        torch.manual_seed(0)
        return NETS[name][0]()

    return Task(name, model, lambda: inputs(name))
