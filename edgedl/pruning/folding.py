"""Layers that compute their weights in each run, with plain weights instead: only those can lose channels and stay the same.

Parametrizations go (weight and spectral normalisation, torch's older and newer ones). A convolution with a forward of its
own, such as one that standardizes its weight, becomes a plain one with the weights that it hands to torch, where that is the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode

from edgedl.errors import InvalidInput
from edgedl.module_copy import full_copy, shared_copy

_PRODUCTS: dict[Any, type[nn.Module]] = {torch.conv1d: nn.Conv1d, torch.conv2d: nn.Conv2d, torch.conv3d: nn.Conv3d}
_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
"""Of torch.conv2d and its like, in their order."""


def computing(module: nn.Module) -> tuple[str, ...]:
    """The names of the layers within that compute their weights, and can do with plain ones."""
    return tuple(name for name, layer in module.named_modules() if name and _plain(layer) is not None)


def folded(module: nn.Module, names: Collection[str]) -> nn.Module:
    """A copy that shares its parameters, in which these layers have plain weights; the module itself where there are none.

    InvalidInput for a layer that is not there or computes no weights.
    """
    if not names:
        return module
    copied = shared_copy(module)
    layers = dict(copied.named_modules())
    for name in names:
        plain = _plain(layers[name]) if name in layers else None
        if plain is None:
            raise InvalidInput(
                f"the plan gives {name!r} plain weights, and the model has no such layer that computes them"
            )
        owner, _, last = name.rpartition(".")
        setattr(copied.get_submodule(owner), last, plain)
    return copied


def own_forward(layer: nn.Module) -> bool:
    """Whether a convolution or linear layer computes something of its own."""
    kinds: tuple[Any, ...] = (*_PRODUCTS.values(), nn.Linear)
    return any(isinstance(layer, kind) and type(layer).forward is not kind.forward for kind in kinds)


def _plain(layer: nn.Module) -> nn.Module | None:
    """The layer with plain weights, in the same mode; None where it computes none, or that would not be the same."""
    if parametrize.is_parametrized(layer):
        return _unparametrized(layer)
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm | SpectralNorm):
            return _without(layer, hook)
    return _convolution(layer) if own_forward(layer) and not isinstance(layer, nn.Linear) else None


def _unparametrized(layer: nn.Module) -> nn.Module:
    """Not by torch's own removal, which takes the property off the class, that copies of the layer share."""
    plain: Any = full_copy(layer).eval()
    with torch.no_grad():
        values = {name: getattr(plain, name).clone() for name in plain.parametrizations}
    del plain._modules["parametrizations"]
    plain.__class__ = parametrize.type_before_parametrizations(layer)
    for name, value in values.items():
        setattr(plain, name, nn.Parameter(value))
    return plain.train(layer.training)  # type: ignore[no-any-return]


def _without(layer: nn.Module, norm: WeightNorm | SpectralNorm) -> nn.Module:
    """Without torch's older norms; the hook that reads weights of a spectral norm is one that torch 2.13 forgets."""
    remove = remove_weight_norm if isinstance(norm, WeightNorm) else remove_spectral_norm
    plain = remove(shared_copy(layer).eval(), norm.name)
    hooks = plain._load_state_dict_pre_hooks
    for key, hook in list(hooks.items()):
        if isinstance(getattr(hook, "hook", hook), SpectralNormLoadStateDictPreHook):
            del hooks[key]
    return plain.train(layer.training)


class _Watch(TorchFunctionMode):
    """Keeps the arguments of every convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, dict[str, Any]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _PRODUCTS:
            self.calls.append((func, {**dict(zip(_ARGUMENTS, args, strict=False)), **(kwargs or {})}))
        return func(*args, **(kwargs or {}))


def _convolution(layer: Any) -> nn.Module | None:
    watch, quiet = _Watch(), shared_copy(layer).eval()
    inputs = list(_inputs(layer))
    try:
        with torch.no_grad():
            with watch:
                expected = [quiet(x) for x in inputs]
            if len(watch.calls) != len(inputs) or torch.equal(watch.calls[0][1]["weight"], layer.weight):
                return None
            plain = _made(layer, *watch.calls[0])
            same = all(torch.allclose(plain(x), y, 1e-4, 1e-5) for x, y in zip(inputs, expected, strict=True))
    except Exception:  # whatever a layer of another's does with noise: it is left as it is
        return None
    return plain.train(layer.training) if same else None


def _made(layer: Any, product: Any, told: dict[str, Any]) -> nn.Module:
    weight, bias = told["weight"], told.get("bias")
    rest = {name: told[name] for name in ("stride", "padding", "dilation", "groups") if name in told}
    plain: Any = _PRODUCTS[product](
        layer.in_channels, layer.out_channels, layer.kernel_size, bias=bias is not None, **rest
    )
    plain.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        plain.bias = nn.Parameter(bias.detach().clone())
    return plain  # type: ignore[no-any-return]


def _inputs(layer: Any) -> Iterator[torch.Tensor]:
    """Seeded noise of two sizes: what pads by size is found out."""
    generator = torch.Generator().manual_seed(0)
    reach = [d * (k - 1) + 1 + 2 * s for d, k, s in zip(layer.dilation, layer.kernel_size, layer.stride, strict=True)]
    for more in (0, 1):
        shape = (2, layer.in_channels, *(length + more for length in reach))
        yield torch.randn(shape, generator=generator, dtype=layer.weight.dtype)
