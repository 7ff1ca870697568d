"""Modules of one operator: the layers of torch.nn with their options, and functions of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from coverage_catalogue.case import BATCH, Case, Function, Input, Layer

ROW = Input((BATCH, 6))
SEQUENCE = Input((BATCH, 6, 10))
IMAGE = Input((BATCH, 4, 8, 8))
ODD_IMAGE = Input((BATCH, 4, 9, 11))
VOLUME = Input((BATCH, 3, 4, 6, 6))
POSITIVE = Input((BATCH, 6), "positive")
UNIT = Input((BATCH, 6), "unit")
WITHIN = Input((BATCH, 6), "within")
INDICES = Input((BATCH, 5), "integers")
FLAGS = Input((BATCH, 6), "bool")
SQUARE = Input((BATCH, 4, 4))

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[Input, ...]]] = {
    "conv1d": (lambda: nn.Conv1d(6, 4, 3), (SEQUENCE,)),
    "conv1d-dilated": (lambda: nn.Conv1d(6, 4, 3, padding=2, dilation=2), (SEQUENCE,)),
    "conv1d-groups-stride": (lambda: nn.Conv1d(6, 6, 3, 2, 1, groups=3), (SEQUENCE,)),
    "conv1d-circular": (lambda: nn.Conv1d(6, 4, 3, padding=1, padding_mode="circular"), (SEQUENCE,)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3), (IMAGE,)),
    "conv2d-stride-padding": (lambda: nn.Conv2d(4, 6, 3, 2, 1), (ODD_IMAGE,)),
    "conv2d-same": (lambda: nn.Conv2d(4, 6, 4, padding="same"), (ODD_IMAGE,)),
    "conv2d-dilated": (lambda: nn.Conv2d(4, 6, 3, padding=2, dilation=2), (IMAGE,)),
    "conv2d-groups": (lambda: nn.Conv2d(4, 6, 3, groups=2), (IMAGE,)),
    "conv2d-depthwise": (lambda: nn.Conv2d(4, 4, 3, 1, 1, groups=4), (IMAGE,)),
    "conv2d-depthwise-multiplier": (lambda: nn.Conv2d(4, 8, 3, 2, 1, groups=4), (IMAGE,)),
    "conv2d-no-bias": (lambda: nn.Conv2d(4, 6, 1, bias=False), (IMAGE,)),
    "conv2d-asymmetric": (lambda: nn.Conv2d(4, 6, (1, 5), (2, 1), (0, 2)), (ODD_IMAGE,)),
    "conv2d-reflect": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (IMAGE,)),
    "conv2d-replicate": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="replicate"), (IMAGE,)),
    "conv3d": (lambda: nn.Conv3d(3, 4, 3, padding=1), (VOLUME,)),
    "conv3d-stride": (lambda: nn.Conv3d(3, 4, (2, 3, 3), (1, 2, 2)), (VOLUME,)),
    "conv-transpose1d": (lambda: nn.ConvTranspose1d(6, 4, 4, 2, 1), (SEQUENCE,)),
    "conv-transpose2d": (lambda: nn.ConvTranspose2d(4, 6, 2, 2), (IMAGE,)),
    "conv-transpose2d-padding": (lambda: nn.ConvTranspose2d(4, 6, 4, 2, 1), (ODD_IMAGE,)),
    "conv-transpose2d-output-padding": (lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1), (IMAGE,)),
    "conv-transpose2d-groups": (lambda: nn.ConvTranspose2d(4, 6, 3, 2, groups=2), (IMAGE,)),
    "conv-transpose2d-dilated": (lambda: nn.ConvTranspose2d(4, 6, 3, dilation=2), (IMAGE,)),
    "conv-transpose3d": (lambda: nn.ConvTranspose3d(3, 4, 2, 2), (VOLUME,)),
    "linear": (lambda: nn.Linear(6, 5), (ROW,)),
    "linear-no-bias": (lambda: nn.Linear(10, 5, bias=False), (SEQUENCE,)),
    "bilinear": (lambda: nn.Bilinear(6, 6, 5), (ROW, ROW)),
    "embedding": (lambda: nn.Embedding(10, 7), (INDICES,)),
    "embedding-padding": (lambda: nn.Embedding(10, 7, padding_idx=0), (INDICES,)),
    "embedding-bag-mean": (lambda: nn.EmbeddingBag(10, 7, mode="mean"), (INDICES,)),
    "embedding-bag-sum": (lambda: nn.EmbeddingBag(10, 7, mode="sum"), (INDICES,)),
    "rnn-cell": (lambda: nn.RNNCell(6, 7), (ROW,)),
    "lstm-cell": (lambda: nn.LSTMCell(6, 7), (ROW,)),
    "gru-cell": (lambda: nn.GRUCell(6, 7), (ROW,)),
    "multihead-attention": (lambda: Attention(), (Input((BATCH, 6, 8)),)),
    "transformer-encoder-layer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (Input((BATCH, 6, 8)),)),
    "transformer-encoder-norm-first": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True, norm_first=True), (Input((BATCH, 6, 8)),),
    ),
    "transformer-decoder-layer": (lambda: nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), (Input((BATCH, 6, 8)), Input((BATCH, 5, 8)))),
    "batch-norm1d": (lambda: nn.BatchNorm1d(6), (SEQUENCE,)),
    "batch-norm2d": (lambda: nn.BatchNorm2d(4), (IMAGE,)),
    "batch-norm3d": (lambda: nn.BatchNorm3d(3), (VOLUME,)),
    "group-norm": (lambda: nn.GroupNorm(2, 4), (IMAGE,)),
    "layer-norm": (lambda: nn.LayerNorm(10), (SEQUENCE,)),
    "layer-norm-two-axes": (lambda: nn.LayerNorm((6, 10)), (SEQUENCE,)),
    "layer-norm-plain": (lambda: nn.LayerNorm(10, elementwise_affine=False), (SEQUENCE,)),
    "instance-norm1d": (lambda: nn.InstanceNorm1d(6), (SEQUENCE,)),
    "instance-norm2d-affine": (lambda: nn.InstanceNorm2d(4, affine=True), (IMAGE,)),
    "local-response-norm": (lambda: nn.LocalResponseNorm(3), (IMAGE,)),
    "rms-norm": (lambda: nn.RMSNorm(10), (SEQUENCE,)),
    "elu": (lambda: nn.ELU(0.7), (ROW,)),
    "celu": (lambda: nn.CELU(0.5), (ROW,)),
    "selu": (lambda: nn.SELU(), (ROW,)),
    "gelu": (lambda: nn.GELU(), (ROW,)),
    "gelu-tanh": (lambda: nn.GELU("tanh"), (ROW,)),
    "glu": (lambda: nn.GLU(1), (IMAGE,)),
    "hardshrink": (lambda: nn.Hardshrink(), (ROW,)),
    "hardsigmoid": (lambda: nn.Hardsigmoid(), (ROW,)),
    "hardswish": (lambda: nn.Hardswish(), (ROW,)),
    "hardtanh": (lambda: nn.Hardtanh(-0.5, 1.5), (ROW,)),
    "leaky-relu": (lambda: nn.LeakyReLU(0.2), (ROW,)),
    "log-sigmoid": (lambda: nn.LogSigmoid(), (ROW,)),
    "log-softmax": (lambda: nn.LogSoftmax(-1), (ROW,)),
    "mish": (lambda: nn.Mish(), (ROW,)),
    "prelu": (lambda: nn.PReLU(), (IMAGE,)),
    "prelu-channels": (lambda: nn.PReLU(4), (IMAGE,)),
    "relu": (lambda: nn.ReLU(), (ROW,)),
    "relu6": (lambda: nn.ReLU6(), (ROW,)),
    "rrelu": (lambda: nn.RReLU(), (ROW,)),
    "sigmoid": (lambda: nn.Sigmoid(), (ROW,)),
    "silu": (lambda: nn.SiLU(), (ROW,)),
    "softmax": (lambda: nn.Softmax(-1), (ROW,)),
    "softmax-channels": (lambda: nn.Softmax(1), (IMAGE,)),
    "softmin": (lambda: nn.Softmin(-1), (ROW,)),
    "softplus": (lambda: nn.Softplus(beta=2, threshold=10), (ROW,)),
    "softshrink": (lambda: nn.Softshrink(), (ROW,)),
    "softsign": (lambda: nn.Softsign(), (ROW,)),
    "tanh": (lambda: nn.Tanh(), (ROW,)),
    "tanhshrink": (lambda: nn.Tanhshrink(), (ROW,)),
    "threshold": (lambda: nn.Threshold(0.1, -2.0), (ROW,)),
    "max-pool1d": (lambda: nn.MaxPool1d(3, 2), (SEQUENCE,)),
    "max-pool2d": (lambda: nn.MaxPool2d(2), (IMAGE,)),
    "max-pool2d-padding": (lambda: nn.MaxPool2d(3, 2, 1), (ODD_IMAGE,)),
    "max-pool2d-ceil": (lambda: nn.MaxPool2d(3, 2, ceil_mode=True), (IMAGE,)),
    "max-pool2d-dilated": (lambda: nn.MaxPool2d(2, 1, dilation=2), (IMAGE,)),
    "max-pool3d": (lambda: nn.MaxPool3d(2), (VOLUME,)),
    "avg-pool1d": (lambda: nn.AvgPool1d(3, 2, 1), (SEQUENCE,)),
    "avg-pool2d": (lambda: nn.AvgPool2d(3, 2, 1), (ODD_IMAGE,)),
    "avg-pool2d-without-padding": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), (ODD_IMAGE,)),
    "avg-pool2d-ceil": (lambda: nn.AvgPool2d(3, 2, ceil_mode=True), (IMAGE,)),
    "avg-pool2d-divisor": (lambda: nn.AvgPool2d(2, divisor_override=3), (IMAGE,)),
    "avg-pool3d": (lambda: nn.AvgPool3d(2), (VOLUME,)),
    "adaptive-avg-pool1d": (lambda: nn.AdaptiveAvgPool1d(5), (SEQUENCE,)),
    "adaptive-avg-pool2d-one": (lambda: nn.AdaptiveAvgPool2d(1), (IMAGE,)),
    "adaptive-avg-pool2d-odd": (lambda: nn.AdaptiveAvgPool2d((3, 5)), (IMAGE,)),
    "adaptive-max-pool1d": (lambda: nn.AdaptiveMaxPool1d(4), (SEQUENCE,)),
    "adaptive-max-pool2d": (lambda: nn.AdaptiveMaxPool2d(4), (IMAGE,)),
    "adaptive-max-pool2d-odd": (lambda: nn.AdaptiveMaxPool2d(3), (IMAGE,)),
    "lp-pool2d": (lambda: nn.LPPool2d(2, 2), (IMAGE,)),
    "reflection-pad1d": (lambda: nn.ReflectionPad1d((2, 1)), (SEQUENCE,)),
    "reflection-pad2d": (lambda: nn.ReflectionPad2d((1, 2, 2, 1)), (IMAGE,)),
    "replication-pad2d": (lambda: nn.ReplicationPad2d((1, 2, 0, 1)), (IMAGE,)),
    "zero-pad2d": (lambda: nn.ZeroPad2d((1, 0, 2, 1)), (IMAGE,)),
    "constant-pad1d": (lambda: nn.ConstantPad1d(2, 3.5), (SEQUENCE,)),
    "circular-pad2d": (lambda: nn.CircularPad2d(1), (IMAGE,)),
    "upsample-nearest": (lambda: nn.Upsample(scale_factor=2), (IMAGE,)),
    "upsample-nearest-1.5": (lambda: nn.Upsample(scale_factor=1.5), (IMAGE,)),
    "upsample-nearest1d": (lambda: nn.Upsample(scale_factor=2), (SEQUENCE,)),
    "upsample-bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (IMAGE,)),
    "upsample-bilinear-corners": (lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), (IMAGE,)),
    "upsample-bilinear-size": (lambda: nn.Upsample(size=(13, 11), mode="bilinear"), (IMAGE,)),
    "upsample-bicubic": (lambda: nn.Upsample(scale_factor=2, mode="bicubic"), (IMAGE,)),
    "upsample-linear": (lambda: nn.Upsample(scale_factor=2, mode="linear"), (SEQUENCE,)),
    "upsample-trilinear": (lambda: nn.Upsample(scale_factor=2, mode="trilinear"), (VOLUME,)),
    "pixel-shuffle": (lambda: nn.PixelShuffle(2), (IMAGE,)),
    "pixel-unshuffle": (lambda: nn.PixelUnshuffle(2), (IMAGE,)),
    "channel-shuffle": (lambda: nn.ChannelShuffle(2), (IMAGE,)),
    "unfold": (lambda: nn.Unfold(3, padding=1, stride=2), (IMAGE,)),
    "fold": (lambda: nn.Fold((5, 5), 2), (Input((BATCH, 8, 16)),)),
    "flatten": (lambda: nn.Flatten(), (IMAGE,)),
    "unflatten": (lambda: nn.Unflatten(1, (2, 3)), (SEQUENCE,)),
    "dropout": (lambda: nn.Dropout(0.5), (ROW,)),
    "cosine-similarity": (lambda: nn.CosineSimilarity(1), (ROW, ROW)),
    "pairwise-distance": (lambda: nn.PairwiseDistance(), (ROW, ROW)),
    "spectral-norm": (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(6, 5)), (ROW,)),
    "weight-norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Conv1d(6, 4, 3)), (SEQUENCE,)),
    "max-unpool2d": (lambda: Unpool(), (IMAGE,)),
}  # fmt: skip

FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[Input, ...]]] = {
    "add-broadcast": (lambda x, y: x + y[:, :, None], (SEQUENCE, ROW)),
    "sub-scalar": (lambda x: 3 - x, (ROW,)),
    "div": (lambda x, y: x / y, (ROW, POSITIVE)),
    "floor-divide": (lambda x: torch.floor_divide(x, 0.7), (ROW,)),
    "remainder": (lambda x: torch.remainder(x, 0.7), (ROW,)),
    "fmod": (lambda x: torch.fmod(x, 0.7), (ROW,)),
    "pow": (lambda x: x**3, (ROW,)),
    "pow-tensor": (lambda x, y: x**y, (POSITIVE, ROW)),
    "sqrt": (lambda x: x.sqrt(), (POSITIVE,)),
    "rsqrt": (lambda x: torch.rsqrt(x), (POSITIVE,)),
    "reciprocal": (lambda x: torch.reciprocal(x), (POSITIVE,)),
    "exp": (lambda x: x.exp(), (ROW,)),
    "expm1": (lambda x: torch.expm1(x), (ROW,)),
    "log": (lambda x: x.log(), (POSITIVE,)),
    "log1p": (lambda x: torch.log1p(x), (POSITIVE,)),
    "log2": (lambda x: torch.log2(x), (POSITIVE,)),
    "logit": (lambda x: torch.logit(x, eps=1e-4), (UNIT,)),
    "abs-neg-sign": (lambda x: (x.abs(), -x, x.sign()), (ROW,)),
    "floor-ceil-round": (lambda x: (x.floor(), x.ceil(), x.round(), x.trunc(), x.frac()), (ROW,)),
    "clamp": (lambda x: x.clamp(-0.5, 0.8), (ROW,)),
    "clamp-min-tensor": (lambda x, y: torch.clamp(x, min=y), (ROW, ROW)),
    "minimum-maximum": (lambda x, y: (torch.minimum(x, y), torch.maximum(x, y)), (ROW, ROW)),
    "where": (lambda x, y: torch.where(x > y, x, y * 2), (ROW, ROW)),
    "masked-fill": (lambda x, m: x.masked_fill(m, -7.0), (ROW, FLAGS)),
    "sum": (lambda x: (x.sum(1), x.sum((1, 2), keepdim=True)), (SEQUENCE,)),
    "mean": (lambda x: x.mean((2, 3)), (IMAGE,)),
    "var-std": (lambda x: (x.var(-1), x.std(-1, correction=0)), (SEQUENCE,)),
    "var-mean": (lambda x: torch.var_mean(x, 2), (SEQUENCE,)),
    "prod": (lambda x: x.prod(1), (ROW,)),
    "amax-amin": (lambda x: (x.amax(1), x.amin((1, 2))), (SEQUENCE,)),
    "max-with-indices": (lambda x: x.max(1), (ROW,)),
    "argmax-argmin": (lambda x: (x.argmax(1), x.argmin(2)), (SEQUENCE,)),
    "all-any": (lambda m: (m.all(1), m.any(1)), (FLAGS,)),
    "cumsum": (lambda x: x.cumsum(1), (SEQUENCE,)),
    "cumprod": (lambda x: x.cumprod(1), (ROW,)),
    "cummax": (lambda x: torch.cummax(x, 1), (ROW,)),
    "logsumexp": (lambda x: x.logsumexp(1), (SEQUENCE,)),
    "logcumsumexp": (lambda x: torch.logcumsumexp(x, 1), (ROW,)),
    "norm": (lambda x: (x.norm(dim=1), x.norm(p=1, dim=2)), (SEQUENCE,)),
    "vector-norm-inf": (lambda x: torch.linalg.vector_norm(x, float("inf"), dim=1), (ROW,)),
    "topk": (lambda x: x.topk(3, 1), (ROW,)),
    "topk-smallest": (lambda x: torch.topk(x, 2, largest=False), (ROW,)),
    "sort": (lambda x: x.sort(1), (ROW,)),
    "sort-stable-descending": (lambda x: torch.sort(x, dim=1, descending=True, stable=True), (ROW,)),
    "argsort": (lambda x: x.argsort(-1), (ROW,)),
    "median": (lambda x: x.median(1).values, (ROW,)),
    "kthvalue": (lambda x: x.kthvalue(2, 1).values, (ROW,)),
    "gather": (lambda x, i: x.gather(1, i % 6), (ROW, INDICES)),
    "index-select": (lambda x: x.index_select(1, torch.tensor([4, 0, 2])), (SEQUENCE,)),
    "index-tensor": (lambda x, i: x[torch.arange(len(x))[:, None], i % 6], (ROW, INDICES)),
    "index-list": (lambda x: x[:, [5, 1, 1]], (SEQUENCE,)),
    "scatter": (lambda x, i: torch.zeros_like(x).scatter(1, i[:, :1] % 6, 1.0), (ROW, INDICES)),
    "scatter-add": (lambda x, i: torch.zeros_like(x).scatter_add(1, i % 6, x[:, :5]), (ROW, INDICES)),
    "index-put": (lambda x: _put(x), (ROW,)),
    "take-along-dim": (lambda x, i: torch.take_along_dim(x, i % 6, 1), (ROW, INDICES)),
    "flip": (lambda x: x.flip(1, 2), (SEQUENCE,)),
    "roll": (lambda x: x.roll(2, 1), (SEQUENCE,)),
    "rot90": (lambda x: torch.rot90(x, 1, (2, 3)), (IMAGE,)),
    "repeat": (lambda x: x.repeat(1, 2, 3), (SEQUENCE,)),
    "expand": (lambda x: x[:, None].expand(-1, 4, -1) * 1.0, (ROW,)),
    "repeat-interleave": (lambda x: x.repeat_interleave(2, 1), (SEQUENCE,)),
    "cat": (lambda x, y: torch.cat([x, y, x], 1), (ROW, ROW)),
    "stack": (lambda x, y: torch.stack([x, y], 2), (ROW, ROW)),
    "split": (lambda x: x.split([1, 2, 3], 1), (SEQUENCE,)),
    "chunk": (lambda x: torch.cat(x.chunk(3, 1)[::-1], 1), (SEQUENCE,)),
    "unbind": (lambda x: sum(x.unbind(1)), (SEQUENCE,)),
    "slice-step": (lambda x: x[:, 1:-1:2, ::3], (SEQUENCE,)),
    "slice-last": (lambda x: x[:, -1], (SEQUENCE,)),
    "slice-ellipsis": (lambda x: x[..., :4, None], (SEQUENCE,)),
    "permute": (lambda x: x.permute(0, 2, 3, 1), (IMAGE,)),
    "transpose-reshape": (lambda x: x.transpose(1, 2).reshape(x.shape[0], -1), (SEQUENCE,)),
    "movedim": (lambda x: x.movedim(1, -1), (IMAGE,)),
    "squeeze": (lambda x: x[:, :1].squeeze(1).unsqueeze(-1), (SEQUENCE,)),
    "view-batch": (lambda x: x.view(-1, 10), (SEQUENCE,)),
    "diagonal": (lambda x: x.diagonal(dim1=1, dim2=2), (SQUARE,)),
    "diag-embed": (lambda x: torch.diag_embed(x), (ROW,)),
    "tril-triu": (lambda x: (x.tril(), x.triu(1)), (SQUARE,)),
    "arange": (lambda x: x + torch.arange(x.shape[1]), (ROW,)),
    "full-like": (lambda x: torch.full_like(x, 2.5) - x, (ROW,)),
    "matmul": (lambda x, y: x @ y, (SQUARE, SQUARE)),
    "matmul-broadcast": (lambda x, y: torch.matmul(x, y[:, None]), (IMAGE, Input((BATCH, 8, 3)))),
    "bmm": (lambda x: torch.bmm(x, x.transpose(1, 2)), (SEQUENCE,)),
    "baddbmm": (lambda x, y: torch.baddbmm(x, x, y, beta=0.5, alpha=2), (SQUARE, SQUARE)),
    "einsum-outer": (lambda x, y: torch.einsum("bi,bj->bij", x, y), (ROW, ROW)),
    "einsum-heads": (lambda x: torch.einsum("bhqd,bhkd->bhqk", x, x), (IMAGE,)),
    "einsum-trace": (lambda x: torch.einsum("bii->b", x), (SQUARE,)),
    "tensordot": (lambda x: torch.tensordot(x, torch.ones(10, 3), 1), (SEQUENCE,)),
    "linalg-inv": (lambda x: torch.linalg.inv(x + 6 * torch.eye(4)), (SQUARE,)),
    "linalg-det": (lambda x: torch.linalg.det(x), (SQUARE,)),
    "cross": (lambda x, y: torch.linalg.cross(x, y), (Input((BATCH, 3)), Input((BATCH, 3)))),
    "cdist": (lambda x, y: torch.cdist(x, y), (SEQUENCE, SEQUENCE)),
    "rfft": (lambda x: torch.fft.rfft(x).abs(), (Input((BATCH, 16)),)),
    "stft": (lambda x: torch.view_as_real(torch.stft(x, 16, 4, window=torch.hann_window(16), return_complex=True)), (Input((BATCH, 64)),)),
    "stft-istft": (lambda x: _round_trip(x), (Input((BATCH, 64)),)),
    "grid-sample": (lambda x, g: F.grid_sample(x, g, align_corners=False), (IMAGE, Input((BATCH, 5, 5, 2), "within"))),
    "grid-sample-border": (lambda x, g: F.grid_sample(x, g, padding_mode="border", align_corners=True), (IMAGE, Input((BATCH, 5, 5, 2)))),
    "affine-grid": (lambda t: F.affine_grid(t, [t.shape[0], 1, 4, 5], align_corners=False), (Input((BATCH, 2, 3)),)),
    "one-hot": (lambda i: F.one_hot(i, 10), (INDICES,)),
    "bucketize": (lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0])), (ROW,)),
    "sin-cos-tan": (lambda x: (x.sin(), x.cos(), x.tan()), (WITHIN,)),
    "asin-acos-atan": (lambda x: (x.asin(), x.acos(), x.atan()), (WITHIN,)),
    "sinh-cosh": (lambda x: (x.sinh(), x.cosh()), (ROW,)),
    "asinh-atanh": (lambda x: (x.asinh(), x.atanh()), (WITHIN,)),
    "atan2": (lambda x, y: torch.atan2(x, y), (ROW, ROW)),
    "erf": (lambda x: (x.erf(), x.erfc()), (ROW,)),
    "lgamma": (lambda x: torch.lgamma(x), (POSITIVE,)),
    "comparisons": (lambda x, y: (x == y, x != y, x < y, x >= y), (ROW, ROW)),
    "logical": (lambda a, b: (a & b, a | b, ~a, a ^ b), (FLAGS, FLAGS)),
    "isnan-isinf": (lambda x: (torch.isnan(x.log()), torch.isinf(1 / x.relu())), (ROW,)),
    "bitwise": (lambda i: (i & 3, i | 4, i ^ 1), (INDICES,)),
    "shift": (lambda i: (i << 2, i >> 1), (INDICES,)),
    "integer-arithmetic": (lambda i: (i * 3 + 1, i // 2, i % 3), (INDICES,)),
    "cast": (lambda x: ((x * 3).to(torch.int64), x > 0, (x > 0).float()), (ROW,)),
    "lerp": (lambda x, y: torch.lerp(x, y, 0.3), (ROW, ROW)),
    "hypot": (lambda x, y: torch.hypot(x, y), (ROW, ROW)),
    "addcmul-addcdiv": (lambda x, y: (torch.addcmul(x, x, y, value=0.5), torch.addcdiv(x, x, y, value=0.5)), (ROW, POSITIVE)),
    "attention": (lambda q, k: F.scaled_dot_product_attention(q, k, k), (IMAGE, IMAGE)),
    "attention-causal": (lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True), (IMAGE,)),
    "attention-mask": (lambda q, m: F.scaled_dot_product_attention(q, q, q, attn_mask=m[:, None, None] > 0), (IMAGE, Input((BATCH, 8), "prefix"))),
    "attention-grouped": (lambda q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True), (IMAGE, Input((BATCH, 2, 8, 8)))),
    "normalize": (lambda x: F.normalize(x, dim=1), (SEQUENCE,)),
    "pad-negative": (lambda x: F.pad(x, (-1, 2)), (SEQUENCE,)),
    "interpolate-area": (lambda x: F.interpolate(x, size=(4, 4), mode="area"), (IMAGE,)),
    "interpolate-exact": (lambda x: F.interpolate(x, size=(12, 12), mode="nearest-exact"), (IMAGE,)),
    "interpolate-antialias": (lambda x: F.interpolate(x, size=(4, 4), mode="bilinear", antialias=True), (IMAGE,)),
    "nan-to-num": (lambda x: torch.nan_to_num(x.log(), nan=0.5, neginf=-9.0), (ROW,)),
    "heaviside": (lambda x: torch.heaviside(x, torch.tensor(0.5)), (ROW,)),
    "tensor-unfold": (lambda x: x.unfold(2, 4, 2), (SEQUENCE,)),
    "meshgrid": (lambda x: x[:, None, None] + sum(torch.meshgrid(torch.arange(3.0), torch.arange(4.0), indexing="ij")), (Input((BATCH,)),)),
    "diff": (lambda x: x.diff(dim=1), (SEQUENCE,)),
    "celu-softmax-chain": (lambda x: F.softmax(F.celu(x) * 3, 1).log(), (ROW,)),
    "conv2d-dynamic-weight": (lambda x, w: F.conv2d(x, w[0], padding=1), (IMAGE, Input((1, 5, 4, 3, 3)))),
    "tensor-list-index": (lambda x: torch.stack([x[:, i] * i for i in range(3)], 1), (SEQUENCE,)),
    "in-place": (lambda x: (x * 1.0).add_(1).relu_(), (ROW,)),
    "masked-mean": (lambda x, m: (x * m).sum(1) / m.sum(1).clamp(min=1), (ROW, Input((BATCH, 6), "prefix"))),
    "outer-sum": (lambda x: (x[:, :, None] + x[:, None]).mean((1, 2)), (ROW,)),
}  # fmt: skip


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        attended, weights = self.attention(x, x, x)
        return attended, weights


class Unpool(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled, indices = self.pool(x)
        unpooled: torch.Tensor = self.unpool(pooled, indices)
        return unpooled


def _put(x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y[:, 1:3] = 0.5
    return y


def _round_trip(x: torch.Tensor) -> torch.Tensor:
    window = torch.hann_window(16)
    spectrum = torch.stft(x, 16, 4, window=window, return_complex=True)
    return torch.istft(spectrum, 16, 4, window=window, length=64)


def cases() -> list[Case]:
    layers = [_case(name, lambda make=make: Layer(make()), inputs) for name, (make, inputs) in LAYERS.items()]
    functions = [_case(name, lambda f=f: Function(f), inputs) for name, (f, inputs) in FUNCTIONS.items()]
    return [*layers, *functions]


def _case(name: str, make: Callable[[], nn.Module], inputs: tuple[Input, ...]) -> Case:
    return Case("operators", name, make, dict(zip("xyz", inputs, strict=False)))
