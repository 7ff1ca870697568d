"""Architectures of timm as tasks."""

from __future__ import annotations

import functools
import importlib
import sys
from types import ModuleType
from typing import Any

import torch

from edgedl.errors import Unavailable, UnknownName

# timm's own requirements replace an installed torch by the newest build; huggingface_hub and pyyaml are all that it needs.
INSTALL = "pip install --no-deps timm torchvision==0.28.0 && pip install huggingface_hub pyyaml"


def architecture(name: str) -> tuple[Any, str]:
    """(a callable that makes the module with random weights, the text of its `--input`).

    Unavailable without timm; UnknownName with the nearest architecture.
    """
    timm = _timm()
    if not timm.is_model(name):
        raise UnknownName("timm architecture", name, timm.list_models())
    channels, height, width = timm.get_pretrained_cfg(name, allow_unregistered=True).input_size
    return functools.partial(timm.create_model, name, pretrained=False), f"x=1x{channels}x{height}x{width}:float32"


def _timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise Unavailable(f"timm:NAME needs {error.name}, which is not installed: {INSTALL}") from error
    except RuntimeError:
        _declare_torchvision_operators()
        return importlib.import_module("timm")


@functools.cache
def _declare_torchvision_operators() -> torch.library.Library:
    """torchvision beside a CPU build of torch has no compiled operators, and stops on these two names; no model calls them."""
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("torchvision", "timm")]:
        del sys.modules[name]
    return library
