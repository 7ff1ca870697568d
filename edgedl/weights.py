"""Loading weights without running code: safetensors, a torch checkpoint under `weights_only`, or a pruned model's folder."""

from __future__ import annotations

import argparse
import codecs
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path, PosixPath, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from edgedl.errors import InvalidInput
from edgedl.files import sha256, write_atomic
from edgedl.module_copy import full_copy
from edgedl.silence import silent

_TORCH = (".pt", ".pth", ".th", ".ckpt", ".bin", ".tar")
_WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "module", "params", "weights"),
    *("model_ema", "state_dict_ema", "params_ema", "ema"),
)


def loaded(module: torch.nn.Module, path: Path, ignore_extra: bool = False) -> torch.nn.Module:
    """Load the weights into the module and return it; a pruned copy of it where `path` is the folder of a pruned model."""
    if path.is_dir():
        from edgedl.pruning import saved

        return saved.load_into(module, path)
    load_into(module, path, ignore_extra)
    return module


def digest(path: Path) -> str | None:
    """SHA-256 of the weights at `path`, None where there are none."""
    if path.is_dir():
        from edgedl.pruning import saved

        return saved.digest(path)
    return sha256(path) if path.is_file() else None


def load_into(module: torch.nn.Module, path: Path, ignore_extra: bool = False) -> None:
    """Load the weights into `module`, as `load_state_dict(strict=True)` does.

    Counts of batches, which nothing in evaluation reads, may be missing.

    Args:
        module: What is loaded; it stays as it is where the file does not fit.
        path: A safetensors file or a torch checkpoint.
        ignore_extra: Leave out the tensors that the model does not have.

    Raises:
        InvalidInput: The file is refused or does not fit the module.
    """
    wanted = module.state_dict()
    prefix, bare = _bare(_read(path), wanted)
    state = _with_aliases(bare, wanted)
    missing, extra = _differences(full_copy(module), state, wanted, path)
    if missing:
        raise InvalidInput(
            f"{path} does not fit the model: {len(missing)} of {len(wanted)} tensors are missing, {min(missing)!r} first; "
            f"the file has {_listed(state)}"
        )
    if extra and not ignore_extra:
        behind = f"{len(wanted.keys() & state.keys())} names fit behind {prefix!r}, and " if prefix else ""
        raise InvalidInput(
            f"{path} does not fit the model: {behind}it holds {len(extra)} tensors that the model has not, {min(extra)!r} first; "
            "add --ignore-extra to leave them out"
        )
    module.load_state_dict(state, strict=False)


def _differences(
    judge: torch.nn.Module, state: Mapping[str, Any], wanted: Mapping[str, torch.Tensor], path: Path
) -> tuple[list[str], list[str]]:
    """The names that are missing and those that are too many, by torch's own loading, which may rename old ones."""
    try:
        found = judge.load_state_dict(state, strict=False)
    except RuntimeError as error:
        for name in (name for name in wanted if name in state and wanted[name].shape != state[name].shape):
            here, there = tuple(wanted[name].shape), tuple(state[name].shape)
            raise InvalidInput(
                f"{path} does not fit the model: {name!r} is {there} in the file and {here} in the model"
            ) from error
        raise InvalidInput(f"{path} does not fit the model: {' '.join(str(error).split())}") from error
    return [name for name in found.missing_keys if not name.endswith("num_batches_tracked")], found.unexpected_keys


def _listed(names: Iterable[str]) -> str:
    first = [repr(name) for name in islice(names, 4)]
    return ", ".join(first[:3]) + (" ..." if len(first) > 3 else "") or "none"


def _bare(state: dict[str, Any], wanted: Mapping[str, torch.Tensor]) -> tuple[str, dict[str, Any]]:
    """What stands before most of the model's names, and the state with names without it; other names stay as they are.

    So write DataParallel (`module.`), torch.compile (`_orig_mod.`) and a Lightning module that holds the network (`model.`).
    """
    counts = Counter(
        name[:place]
        for name in state
        for place in (0, *(place + 1 for place, letter in enumerate(name) if letter == "."))
        if name[place:] in wanted
    )
    prefix = max(counts, key=lambda start: (counts[start], -len(start)), default="")
    others = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
    return prefix, {**others, **{name.removeprefix(prefix): state[name] for name in state if name not in others}}


def _with_aliases(state: dict[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state, with every name of a shared weight where the file holds it under one of them."""
    held = {(wanted[name].data_ptr(), wanted[name].shape): state[name] for name in wanted if name in state}
    shared = {name: held.get((tensor.data_ptr(), tensor.shape)) for name, tensor in wanted.items() if tensor.numel()}
    return {**{name: tensor for name, tensor in shared.items() if tensor is not None}, **state}


def save(module: torch.nn.Module, path: Path) -> None:
    """Write the module's weights as safetensors, whole or not at all."""
    write_atomic(path, encode(module))


def encode(module: torch.nn.Module) -> bytes:
    """The module's weights as the bytes of a safetensors file."""
    from safetensors.torch import save as to_bytes

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}
    return bytes(to_bytes(tensors))


def _read(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise InvalidInput(f"no such weights file: {path}; train with: edgedl train TASK -o {path.parent}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            return dict(load(path.read_bytes()))
        if path.name.endswith(_TORCH):
            with silent(), torch.serialization.safe_globals(_harmless()):
                found = torch.load(path, map_location="cpu", weights_only=True)
            return _state_dict(found, path)
    except InvalidInput:
        raise
    except Exception as error:
        why = (
            "it holds more than tensors, which could run code"
            if "weights_only" in str(error).lower()
            else _first(error)
        )
        raise InvalidInput(
            f"{path} is refused: {why}; save it anew with safetensors.torch.save_model(model, 'model.safetensors')"
        ) from error
    raise InvalidInput(f"{path} is refused: expected .safetensors or a torch checkpoint ({', '.join(_TORCH)})")


def _state_dict(loaded: Any, path: Path) -> dict[str, Any]:
    """The state in a checkpoint, through the dictionaries and names that wrap it."""
    state = loaded
    while isinstance(state, Mapping) and not _is_state(state):
        inner = next((state[key] for key in _wrappers(state) if isinstance(state[key], Mapping)), None)
        if inner is None:
            raise InvalidInput(
                f"{path} is refused: expected a dictionary of tensors (a state_dict), alone or under one of {', '.join(_WRAPPERS)}; "
                f"it has {_listed(map(str, state))}"
            )
        state = inner
    if not isinstance(state, Mapping):
        raise InvalidInput(
            f"{path} is refused: expected a dictionary of tensors (a state_dict), and it holds a {type(state).__name__}"
        )
    return {str(name): tensor for name, tensor in state.items()}


def _is_state(state: Mapping[Any, Any]) -> bool:
    return all(isinstance(value, torch.Tensor) or str(key).endswith("_extra_state") for key, value in state.items())


def _wrappers(state: Mapping[Any, Any]) -> list[Any]:
    """The keys of a checkpoint that can lead to its weights, the likeliest first."""
    known = [key for key in _WRAPPERS if key in state]
    return known + [key for key in state if str(key).endswith(".state_dict")]


def _harmless() -> list[Any]:
    """What a checkpoint may hold beside tensors: each builds plain data and runs nothing."""
    scalar, array = np._core.multiarray.scalar, np._core.multiarray._reconstruct  # type: ignore[attr-defined]
    dtypes = {type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?US"}
    return [
        argparse.Namespace, SimpleNamespace, OrderedDict, defaultdict, Counter, dict, list, codecs.encode, np.dtype, np.ndarray,
        *dtypes, scalar, array, PosixPath, PurePosixPath, datetime, timedelta,
        (scalar, "numpy.core.multiarray.scalar"), (array, "numpy.core.multiarray._reconstruct"),
    ]  # fmt: skip


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
