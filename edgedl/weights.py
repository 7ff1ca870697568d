"""Loading weights without running code: safetensors, a torch checkpoint under `weights_only`, or a pruned model's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edgedl.errors import InvalidInput
from edgedl.files import sha256, write_atomic
from edgedl.silence import silent

_TORCH = (".pt", ".pth", ".ckpt", ".bin", ".pth.tar")
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def loaded(module: torch.nn.Module, path: Path) -> torch.nn.Module:
    """The module with the weights; pruned first, in a copy, where `path` is the folder of a pruned model."""
    if path.is_dir():
        from edgedl.pruning import saved

        return saved.load_into(module, path)
    load_into(module, path)
    return module


def digest(path: Path) -> str | None:
    """SHA-256 of the weights at `path`, None where there are none."""
    if path.is_dir():
        from edgedl.pruning import saved

        return saved.digest(path)
    return sha256(path) if path.is_file() else None


def load_into(module: torch.nn.Module, path: Path) -> None:
    """Load the weights into `module`; InvalidInput if the file is refused or does not fit the module."""
    wanted = module.state_dict()
    state = _with_aliases(_bare(_read(path), wanted), wanted)
    if missing := wanted.keys() - state.keys():
        raise InvalidInput(
            f"{path} does not fit the model: {len(missing)} of {len(wanted)} tensors are missing, {min(missing)!r} first"
        )
    if extra := state.keys() - wanted.keys():
        raise InvalidInput(
            f"{path} does not fit the model: it holds {len(extra)} tensors that the model has not, {min(extra)!r} first"
        )
    if odd := [name for name in wanted if wanted[name].shape != state[name].shape]:
        here, there = tuple(wanted[odd[0]].shape), tuple(state[odd[0]].shape)
        raise InvalidInput(f"{path} does not fit the model: {odd[0]!r} is {there} in the file and {here} in the model")
    module.load_state_dict(state)


def _bare(state: dict[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state without what all of its names begin with, where the model's names are the rest.

    So write DataParallel (`module.`), torch.compile (`_orig_mod.`) and a Lightning module that holds the network (`model.`).
    """
    first = next(iter(state), "")
    starts = ("", *(first[: place + 1] for place, letter in enumerate(first) if letter == "."))
    shared = [start for start in starts if all(name.startswith(start) for name in state)]
    start = next((start for start in shared if any(name.removeprefix(start) in wanted for name in state)), "")
    return {name.removeprefix(start): tensor for name, tensor in state.items()}


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
            with silent():
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


def _state_dict(loaded: Any, path: Path) -> dict[str, torch.Tensor]:
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise InvalidInput(f"{path} is refused: expected a dictionary of tensors (a state_dict)")
    return {str(name): tensor for name, tensor in loaded.items()}


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
