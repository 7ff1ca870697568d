"""nn.MultiheadAttention with fewer heads than its width has room for, which torch's own layer cannot be."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear, scaled_dot_product_attention


def has_prunable_heads(layer: Any) -> bool:
    """One matrix for query, key and value, and nothing added to the keys."""
    if isinstance(layer, SlimAttention):
        return True
    return type(layer) is nn.MultiheadAttention and bool(
        layer._qkv_same_embed_dim and layer.bias_k is None and not layer.add_zero_attn
    )


class SlimAttention(nn.MultiheadAttention):
    """The heads that are left of an nn.MultiheadAttention: same arguments, same results, same names of weights.

    in_proj_weight: [3 x heads x head_dim, embed_dim]; out_proj.weight: [embed_dim, heads x head_dim].
    """

    @classmethod
    def cut(cls, layer: nn.MultiheadAttention, kept: torch.Tensor) -> SlimAttention:
        """A new layer with the heads `kept`."""
        slim = cls(layer.embed_dim, 1, layer.dropout, layer.in_proj_bias is not None, batch_first=layer.batch_first)
        slim.num_heads, slim.head_dim, slim._qkv_same_embed_dim = len(kept), layer.head_dim, False
        inner = (kept[:, None] * layer.head_dim + torch.arange(layer.head_dim)).flatten()
        size = layer.num_heads * layer.head_dim
        rows = torch.cat([inner + part * size for part in range(3)])
        slim.in_proj_weight = _part(layer.in_proj_weight, 0, rows)
        slim.in_proj_bias = _part(layer.in_proj_bias, 0, rows)
        slim.out_proj.in_features = len(inner)
        slim.out_proj.weight = _part(layer.out_proj.weight, 1, inner)
        slim.out_proj.bias = layer.out_proj.bias
        return slim.train(layer.training)

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True, attn_mask: torch.Tensor | None = None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:  # fmt: skip
        """As nn.MultiheadAttention's; [time, batch, embed_dim], with batch_first [batch, time, embed_dim], or [time, embed_dim]."""
        batched, first = query.dim() == 3, self.batch_first
        q, k, v = self._projected([self._batch_first(part) for part in (query, key, value)])
        mask = self._mask(attn_mask, key_padding_mask, q)
        if need_weights:
            scores = q @ k.transpose(-1, -2) * self.head_dim**-0.5
            weights = torch.softmax(scores if mask is None else scores + mask, -1)
            heads = nn.functional.dropout(weights, self.dropout, self.training) @ v
        else:
            heads = scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0)
        out: torch.Tensor = self.out_proj(heads.transpose(1, 2).flatten(2))
        out = out if batched and first else out.transpose(0, 1) if batched else out[0]
        if not need_weights:
            return out, None
        shown = weights.mean(1) if average_attn_weights else weights
        return out, shown if batched else shown[0]

    def _batch_first(self, x: torch.Tensor) -> torch.Tensor:
        return x[None] if x.dim() == 2 else x if self.batch_first else x.transpose(0, 1)

    def _projected(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """[batch, time, embed_dim] each -> [batch, heads, time, head_dim] each."""
        weights = self.in_proj_weight.chunk(3)
        biases: Any = self.in_proj_bias.chunk(3) if self.in_proj_bias is not None else (None,) * 3
        projected = [linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True)]
        return [x.view(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2) for x in projected]

    def _mask(
        self, attn_mask: torch.Tensor | None, padding: torch.Tensor | None, query: torch.Tensor
    ) -> torch.Tensor | None:
        """Both masks as one that is added to the scores; a mask of one row for each head cannot follow pruned heads."""
        masks = []
        if attn_mask is not None:
            if attn_mask.dim() == 3:
                raise NotImplementedError("an attention mask of its own for each head")
            masks.append(_added(attn_mask, query.dtype))
        if padding is not None:
            masks.append(_added(padding.reshape(-1, 1, 1, padding.shape[-1]), query.dtype))
        return sum(masks[1:], masks[0]) if masks else None


def _added(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else mask


def _part(tensor: Any, axis: int, kept: torch.Tensor) -> Any:
    if tensor is None:
        return None
    return nn.Parameter(tensor.detach().index_select(axis, kept).clone(), tensor.requires_grad)
