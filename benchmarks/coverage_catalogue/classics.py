"""Networks as textbooks and torchvision have them, a few channels wide, and recurrent, sequence and two-input ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from coverage_catalogue.case import BATCH, Case, Input

Make = Callable[[], nn.Module]


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, normalisation, ReLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


def head(channels: int, classes: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Branches(nn.Module):
    """Every branch on the same input, concatenated along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, after: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut, self.after = body, shortcut or nn.Identity(), after or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.after(self.body(x) + self.shortcut(x))
        return out


class Squeeze(nn.Module):
    """Channel weights from the mean over the image."""

    def __init__(self, width: int, gate: type[nn.Module] = nn.Sigmoid) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 4, 1), nn.ReLU(), nn.Conv2d(4, width, 1), gate()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x * self.weigh(x)
        return out


def alexnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(8, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Dropout(), nn.Linear(144, 32), nn.ReLU(), nn.Linear(32, 5),
    )  # fmt: skip


def vgg() -> nn.Module:
    return nn.Sequential(
        conv(3, 8), nn.MaxPool2d(2), conv(8, 16), conv(16, 16), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1024, 5)
    )


def basic_block(inputs: int, outputs: int, stride: int) -> nn.Module:
    body = nn.Sequential(
        conv(inputs, outputs, 3, stride), nn.Conv2d(outputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs)
    )
    shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
    return Residual(body, shortcut, nn.ReLU())


def resnet() -> nn.Module:
    return nn.Sequential(conv(3, 8, 7, 2), nn.MaxPool2d(3, 2, 1), basic_block(8, 8, 1), basic_block(8, 16, 2), head(16))


def resnext() -> nn.Module:
    block = nn.Sequential(conv(8, 16, 1), conv(16, 16, 3, 1, 4), nn.Conv2d(16, 8, 1), nn.BatchNorm2d(8))
    return nn.Sequential(conv(3, 8, 3, 2), Residual(block, after=nn.ReLU()), head(8))


def squeezenet() -> nn.Module:
    def fire(inputs: int, width: int) -> nn.Module:
        expand = Branches(nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 3, padding=1))
        return nn.Sequential(nn.Conv2d(inputs, width, 1), nn.ReLU(), expand, nn.ReLU())

    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), fire(8, 8), fire(16, 8), nn.Conv2d(16, 5, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


class ShuffleUnit(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(
            conv(half, half, 1), nn.Conv2d(half, half, 3, 1, 1, groups=half), nn.BatchNorm2d(half), conv(half, half, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, 1)
        y = torch.cat([left, self.branch(right)], 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def shufflenet() -> nn.Module:
    return nn.Sequential(conv(3, 8, 3, 2), nn.MaxPool2d(3, 2, 1), ShuffleUnit(8), ShuffleUnit(8), head(8))


def inverted(width: int, activation: type[nn.Module], *extra: nn.Module) -> nn.Module:
    return Residual(
        nn.Sequential(
            nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width), activation(),
            nn.Conv2d(4 * width, 4 * width, 3, 1, 1, groups=4 * width, bias=False), nn.BatchNorm2d(4 * width), activation(),
            *extra, nn.Conv2d(4 * width, width, 1, bias=False), nn.BatchNorm2d(width),
        )
    )  # fmt: skip


def mobilenet_v1() -> nn.Module:
    return nn.Sequential(
        conv(3, 8, 3, 2), conv(8, 8, 3, 1, 8), conv(8, 16, 1), conv(16, 16, 3, 2, 16), conv(16, 16, 1), head(16)
    )


def mobilenet_v2() -> nn.Module:
    return nn.Sequential(conv(3, 8, 3, 2), inverted(8, nn.ReLU6), inverted(8, nn.ReLU6), conv(8, 16, 1), head(16))


def mobilenet_v3() -> nn.Module:
    return nn.Sequential(
        conv(3, 8, 3, 2),
        inverted(8, nn.Hardswish, Squeeze(32, nn.Hardsigmoid)),
        conv(8, 16, 1),
        nn.Hardswish(),
        head(16),
    )


def efficientnet() -> nn.Module:
    return nn.Sequential(
        conv(3, 8, 3, 2), inverted(8, nn.SiLU, Squeeze(32)), inverted(8, nn.SiLU, Squeeze(32)), head(8)
    )


class Dense(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, growth, 3, padding=1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.body(x)], 1)


def densenet() -> nn.Module:
    return nn.Sequential(
        conv(3, 8, 3, 2),
        Dense(8, 4),
        Dense(12, 4),
        conv(16, 8, 1),
        nn.AvgPool2d(2),
        Dense(8, 4),
        nn.BatchNorm2d(12),
        head(12),
    )


def inception() -> nn.Module:
    pooled = nn.Sequential(nn.AvgPool2d(3, 1, 1), conv(8, 4, 1))
    tall = nn.Sequential(nn.Conv2d(8, 4, (1, 7), padding=(0, 3)), nn.Conv2d(4, 4, (7, 1), padding=(3, 0)), nn.ReLU())
    return nn.Sequential(conv(3, 8, 3, 2), Branches(conv(8, 4, 1), tall, pooled), head(12))


def googlenet() -> nn.Module:
    pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), conv(8, 4, 1))
    branches = Branches(
        conv(8, 4, 1), nn.Sequential(conv(8, 4, 1), conv(4, 8)), nn.Sequential(conv(8, 2, 1), conv(2, 4, 5)), pooled
    )
    return nn.Sequential(conv(3, 8, 7, 2), nn.LocalResponseNorm(3), branches, head(20))


class UNet(nn.Module):
    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.down, self.bottom = conv(3, 8), conv(8, 16)
        self.up: nn.Module = (
            nn.ConvTranspose2d(16, 8, 2, 2)
            if transposed
            else nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), conv(16, 8))
        )
        self.out = nn.Sequential(conv(16, 8), nn.Conv2d(8, 2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.down(x)
        mask: torch.Tensor = self.out(torch.cat([self.up(self.bottom(F.max_pool2d(skip, 2))), skip], 1))
        return mask


class FullyConvolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.classes = nn.Sequential(conv(3, 8, 3, 2), conv(8, 16, 3, 2)), nn.Conv2d(16, 3, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "out": F.interpolate(self.classes(self.body(x)), size=x.shape[-2:], mode="bilinear", align_corners=False)
        }


class DeepLab(nn.Module):
    """Dilated branches and the image's mean, pooled and spread out again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8, 3, 2)
        self.branches = Branches(
            conv(8, 4, 1), nn.Conv2d(8, 4, 3, padding=2, dilation=2), nn.Conv2d(8, 4, 3, padding=4, dilation=4)
        )
        self.image, self.out = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1)), nn.Conv2d(16, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.stem(x)
        spread = F.interpolate(self.image(y), size=y.shape[-2:], mode="bilinear")
        out: torch.Tensor = self.out(torch.cat([self.branches(y), spread], 1))
        return out


class Detector(nn.Module):
    """Boxes around grid centres and scores at two scales, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(conv(3, 8, 3, 2), conv(8, 16, 3, 2))
        self.coarse = conv(16, 16, 3, 2)
        self.heads = nn.ModuleList([nn.Conv2d(16, 4 + 3, 1) for _ in range(2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.fine(x)
        levels = zip((fine, self.coarse(fine)), self.heads, (4, 8), strict=True)
        return torch.cat([self.decode(layer(level), stride) for level, layer, stride in levels], 1)

    @staticmethod
    def decode(raw: torch.Tensor, stride: int) -> torch.Tensor:
        _, _, h, w = raw.shape
        y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        centres = (torch.stack([x, y]) + 0.5) * stride
        boxes, scores = raw.split([4, 3], 1)
        middle, size = boxes[:, :2].tanh() * stride + centres, boxes[:, 2:].exp() * stride
        return torch.cat([middle, size, scores.sigmoid()], 1).flatten(2).transpose(1, 2)


class Ssd(nn.Module):
    """Locations and classes of two levels, each in an output of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Sequential(conv(3, 8, 3, 2), conv(8, 8, 3, 2)), conv(8, 8, 3, 2)
        self.places = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1) for _ in range(2)])
        self.classes = nn.ModuleList([nn.Conv2d(8, 6, 3, padding=1) for _ in range(2)])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first = self.first(x)
        levels = (first, self.second(first))
        places = [
            layer(y).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4)
            for layer, y in zip(self.places, levels, strict=True)
        ]
        classes = [
            layer(y).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 3)
            for layer, y in zip(self.classes, levels, strict=True)
        ]
        return torch.cat(places, 1), torch.cat(classes, 1).softmax(-1)


class Pyramid(nn.Module):
    """Features of three scales, the coarse ones added to the fine ones."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList([conv(3, 8, 3, 2), conv(8, 16, 3, 2), conv(16, 32, 3, 2)])
        self.sides = nn.ModuleList([nn.Conv2d(width, 8, 1) for width in (8, 16, 32)])

    def forward(self, x: torch.Tensor) -> Sequence[torch.Tensor]:
        levels = []
        for step in self.steps:
            x = step(x)
            levels.append(x)
        merged = [side(level) for side, level in zip(self.sides, levels, strict=True)]
        for index in (1, 0):
            merged[index] = merged[index] + F.interpolate(merged[index + 1], scale_factor=2)
        return merged


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 8, 3, 2), head(8, 6))

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return F.cosine_similarity(self.body(left), self.body(right)).abs()


class SpatialTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.locate = nn.Sequential(
            nn.Conv2d(3, 4, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        theta = self.locate(x).view(-1, 2, 3) * 0.1 + torch.eye(2, 3)
        return F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=False), align_corners=False)


def autoencoder() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(4, 8, 2, 2), nn.ReLU(), nn.ConvTranspose2d(8, 3, 2, 2), nn.Sigmoid(),
    )  # fmt: skip


def dense_autoencoder() -> nn.Module:
    widths = (20, 16, 4, 16, 20)
    return nn.Sequential(*[part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.Tanh())])


class VariationalAutoencoder(nn.Module):
    """The mean and the spread of the code, and what is made of the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.mean, self.spread, self.decode = (
            nn.Linear(20, 16),
            nn.Linear(16, 3),
            nn.Linear(16, 3),
            nn.Linear(3, 20),
        )

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.encode(x).relu()
        mean = self.mean(hidden)
        return {"decoded": self.decode(mean).sigmoid(), "mean": mean, "variance": self.spread(hidden).exp()}


class SuperResolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 5, padding=2), nn.Tanh(), nn.Conv2d(8, 4, 3, padding=1), nn.PixelShuffle(2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.body(x) + F.interpolate(x, scale_factor=2, mode="bicubic")
        return out.clamp(-2, 2)


class Temporal(nn.Module):
    """Dilated causal convolutions with residual sums."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv1d(6, 6, 3, dilation=2**i) for i in range(3)])
        self.out = nn.Conv1d(6, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(1, 2)
        for index, layer in enumerate(self.layers):
            x = x + F.relu(layer(F.pad(x, (2 * 2**index, 0))))
        out: torch.Tensor = self.out(x).transpose(1, 2)
        return out


class Recurrent(nn.Module):
    """A recurrent layer and a linear one, at every step or at the last."""

    def __init__(self, layer: nn.Module, width: int, last: bool = False) -> None:
        super().__init__()
        self.layer, self.out, self.last = layer, nn.Linear(width, 4), last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.layer(x)
        scores: torch.Tensor = self.out(y[:, -1] if self.last else y)
        return scores


class TokenClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.gru, self.out = (
            nn.Embedding(30, 8),
            nn.GRU(8, 6, batch_first=True, bidirectional=True),
            nn.Linear(12, 3),
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        y, _ = self.gru(self.embed(tokens))
        scores: torch.Tensor = self.out(y.max(1).values)
        return scores


class Speech(nn.Module):
    """Convolutions that halve time, a bidirectional LSTM, log probabilities: as for CTC."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(6, 8, 3, 2, 1), nn.ReLU())
        self.lstm, self.out = nn.LSTM(8, 6, batch_first=True, bidirectional=True), nn.Linear(12, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.lstm(self.conv(x.transpose(1, 2)).transpose(1, 2))
        return F.log_softmax(self.out(y), -1)


class SequenceToSequence(nn.Module):
    """An encoder's last state starts a decoder that attends to all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(20, 8), nn.Embedding(20, 8)
        self.encoder, self.decoder = nn.GRU(8, 8, batch_first=True), nn.GRU(8, 8, batch_first=True)
        self.out = nn.Linear(16, 20)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        memory, last = self.encoder(self.source(source))
        y, _ = self.decoder(self.target(target), last)
        context = (y @ memory.transpose(1, 2)).softmax(-1) @ memory
        logits: torch.Tensor = self.out(torch.cat([y, context], -1))
        return logits


class Transformer(nn.Module):
    """Tokens with a padding mask, sinusoidal positions, one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(30, 8), nn.Linear(8, 3)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        place = torch.arange(tokens.shape[1])[:, None] / torch.tensor([1.0, 10.0, 100.0, 1000.0])
        x = self.embed(tokens) + torch.cat([place.sin(), place.cos()], -1)
        y = self.encoder(x, src_key_padding_mask=mask == 0)
        kept = mask[..., None].float()
        scores: torch.Tensor = self.out((y * kept).sum(1) / kept.sum(1))
        return scores


class Causal(nn.Module):
    """A language model of one layer, with a mask made of its length."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(30, 8), nn.Embedding(64, 8)
        self.layer, self.out = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True), nn.Linear(8, 30)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        length = tokens.shape[1]
        mask = torch.triu(torch.full((length, length), float("-inf")), 1)
        x = self.embed(tokens) + self.places(torch.arange(length))
        logits: torch.Tensor = self.out(self.layer(x, src_mask=mask, is_causal=True))
        return logits


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.tokens, self.channels = (
            nn.Sequential(nn.Linear(64, 16), nn.GELU(), nn.Linear(16, 64)),
            nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)),
        )
        self.first, self.second, self.out = nn.LayerNorm(8), nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.patches(x).flatten(2).transpose(1, 2)
        y = y + self.tokens(self.first(y).transpose(1, 2)).transpose(1, 2)
        y = y + self.channels(self.second(y))
        scores: torch.Tensor = self.out(y.mean(1))
        return scores


class Graph(nn.Module):
    """Two graph convolutions over a dense adjacency matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, nodes: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        weights = edges / edges.sum(-1, keepdim=True)
        scores: torch.Tensor = weights @ self.second((weights @ self.first(nodes)).relu())
        return scores


class Recommender(nn.Module):
    """Embeddings of two ids beside numbers: wide and deep."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(40, 6), nn.Embedding(30, 6)
        self.deep, self.wide = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1)), nn.Linear(4, 1)

    def forward(self, user: torch.Tensor, item: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        u, i = self.user(user), self.item(item)
        score = self.deep(torch.cat([u, i, numbers], 1)) + self.wide(numbers) + (u * i).sum(1, keepdim=True)
        return score.sigmoid().squeeze(1)


class PointNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.each, self.out = (
            nn.Sequential(nn.Conv1d(3, 8, 1), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 16, 1)),
            nn.Linear(16, 4),
        )

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.out(self.each(points).amax(2))
        return scores


class MultiTask(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.age, self.kind = (
            nn.Sequential(conv(3, 8, 3, 2), head(8, 8), nn.ReLU()),
            nn.Linear(8, 1),
            nn.Linear(8, 3),
        )

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.body(x)
        return {
            "age": 40 + 20 * self.age(y).squeeze(-1),
            "kind": self.kind(y).softmax(-1),
            "best": self.kind(y).argmax(-1),
        }


IMAGE = Input((BATCH, 3, 32, 32))
STEPS = Input((BATCH, "time", 6))
TOKENS = Input((BATCH, "time"), "integers", 20)
VECTOR = Input((BATCH, 20))

IMAGES: dict[str, Make] = {
    "vgg": vgg, "resnet": resnet, "resnext": resnext, "squeezenet": squeezenet, "shufflenet-v2": shufflenet, "mobilenet-v1": mobilenet_v1,
    "mobilenet-v2": mobilenet_v2, "mobilenet-v3": mobilenet_v3, "efficientnet": efficientnet, "densenet": densenet,
    "inception": inception, "googlenet": googlenet, "unet-transposed": lambda: UNet(True), "unet-bilinear": lambda: UNet(False),
    "fully-convolutional": FullyConvolutional, "deeplab": DeepLab, "detector": Detector, "ssd": Ssd, "pyramid": Pyramid,
    "autoencoder": autoencoder, "spatial-transformer": SpatialTransformer, "mixer": Mixer, "multi-task": MultiTask,
}  # fmt: skip
SEQUENCES: dict[str, Make] = {
    "tcn": Temporal,
    "rnn": lambda: Recurrent(nn.RNN(6, 8, batch_first=True), 8),
    "rnn-relu": lambda: Recurrent(nn.RNN(6, 8, nonlinearity="relu", batch_first=True), 8, last=True),
    "lstm": lambda: Recurrent(nn.LSTM(6, 8, batch_first=True), 8),
    "lstm-two-layers": lambda: Recurrent(nn.LSTM(6, 8, 2, batch_first=True), 8, last=True),
    "lstm-bidirectional": lambda: Recurrent(nn.LSTM(6, 5, batch_first=True, bidirectional=True), 10),
    "lstm-projection": lambda: Recurrent(nn.LSTM(6, 8, batch_first=True, proj_size=5), 5),
    "gru": lambda: Recurrent(nn.GRU(6, 8, batch_first=True), 8),
    "gru-bidirectional": lambda: Recurrent(nn.GRU(6, 5, 2, batch_first=True, bidirectional=True), 10, last=True),
    "speech": Speech,
}
OTHERS: dict[str, tuple[Make, dict[str, Input]]] = {
    "alexnet": (alexnet, {"x": Input((BATCH, 3, 64, 64))}),
    "siamese": (Siamese, {"left": IMAGE, "right": IMAGE}),
    "super-resolution": (SuperResolution, {"x": Input((BATCH, 1, 12, 12))}),
    "dense-autoencoder": (dense_autoencoder, {"x": VECTOR}),
    "variational-autoencoder": (VariationalAutoencoder, {"x": VECTOR}),
    "token-classifier": (TokenClassifier, {"tokens": TOKENS}),
    "sequence-to-sequence": (SequenceToSequence, {"source": TOKENS, "target": Input((BATCH, 7), "integers", 20)}),
    "transformer": (Transformer, {"tokens": TOKENS, "mask": Input((BATCH, "time"), "prefix")}),
    "causal-transformer": (Causal, {"tokens": TOKENS}),
    "graph": (Graph, {"nodes": Input((BATCH, 7, 6)), "edges": Input((BATCH, 7, 7), "positive")}),
    "recommender": (Recommender, {"user": Input((BATCH,), "integers", 40), "item": Input((BATCH,), "integers", 30), "numbers": Input((BATCH, 4))}),
    "pointnet": (PointNet, {"points": Input((BATCH, 3, 16))}),
}  # fmt: skip


def cases() -> list[Case]:
    networks = {
        **{name: (make, {"image": IMAGE}) for name, make in IMAGES.items()},
        **{name: (make, {"x": STEPS}) for name, make in SEQUENCES.items()},
        **OTHERS,
    }
    return [Case("classics", name, make, inputs, _axes(inputs)) for name, (make, inputs) in networks.items()]


def _axes(inputs: dict[str, Input]) -> tuple[tuple[str, ...], ...]:
    timed = any("time" in source.shape for source in inputs.values())
    return ((), (BATCH, "time")) if timed else ((), (BATCH,))
