"""Copies of a user's module: its modules, tensors and containers are copied, everything else is shared.

A module may hold what cannot be copied (a lock, an open file, a tokenizer, a Python module). A copy refers to the same one.
"""

from __future__ import annotations

import contextlib
import copy
import sys
import types
import weakref
from collections import deque
from collections.abc import Iterator
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.utils import parametrize

from edgedl.silence import silent

_STATE = (int, float, complex, list, dict, set, deque, np.ndarray)
_ATOMS = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, str, bytes, int, float, complex)


def shared_copy(module: torch.nn.Module) -> torch.nn.Module:
    """Copy a module but share its parameters: the user's own module keeps its mode, buffers, hooks and attributes."""
    return _Copier(module, {id(parameter): parameter for parameter in _parameters(module)}).copy(module)  # type: ignore[no-any-return]


def full_copy(module: torch.nn.Module) -> torch.nn.Module:
    """Copy a module together with its parameters."""
    return _Copier(module, {}).copy(module)  # type: ignore[no-any-return]


def copied_value(value: Any) -> Any:
    """Copy the tensors and containers in an attribute's value; modules in it are shared."""
    return _Copier(None, {}).copy(value)


def _parameters(module: torch.nn.Module) -> Iterator[torch.nn.Parameter]:
    return (parameter for part in module.modules() for parameter in part._parameters.values() if parameter is not None)


class _Copier:
    """One copy. memo: id -> what stands for that object, as in `copy.deepcopy`."""

    def __init__(self, root: torch.nn.Module | None, memo: dict[int, Any]) -> None:
        self.memo = memo
        self.inside = {id(part) for part in root.modules()} | {id(p) for p in _parameters(root)} if root else set()

    def copy(self, value: Any) -> Any:
        if isinstance(value, _ATOMS) or value is None:
            return value
        if id(value) not in self.memo:
            self.memo[id(value)] = self._new(value)
        return self.memo[id(value)]

    def _new(self, value: Any) -> Any:
        if isinstance(value, torch.nn.Module):
            return self._module(value) if self.inside else value
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, np.ndarray):
            return value.copy()
        if isinstance(value, torch.Generator):
            return value.clone_state()
        if isinstance(value, dict | list | tuple | set | deque):
            return self._container(value)
        if isinstance(value, types.MethodType | partial | weakref.ref):
            return self._reference(value)
        if isinstance(value, types.SimpleNamespace):
            return types.SimpleNamespace(**{name: self.copy(part) for name, part in vars(value).items()})
        return self._object(value) if can_hold_state(value) else value

    def _module(self, module: torch.nn.Module) -> torch.nn.Module:
        if hasattr(type(module), "__deepcopy__") and not parametrize.is_parametrized(module):
            with silent(), contextlib.suppress(TypeError):  # a traced graph warns of torch's own trees
                return copy.deepcopy(module, self.memo)
        return self._object(module)  # type: ignore[no-any-return]

    def _object(self, value: Any) -> Any:
        result = self.memo[id(value)] = object.__new__(type(value))
        result.__dict__.update({name: self.copy(part) for name, part in vars(value).items()})
        return result

    def _tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        """Through `deepcopy`, which keeps views of one storage together; without the history that it refuses."""
        if not self.inside:
            return tensor.detach().clone()  # a trace can follow that
        return copy.deepcopy(tensor if tensor.is_leaf else tensor.detach(), self.memo)

    def _container(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return self._tuple(value)
        result = self.memo[id(value)] = copy.copy(value)
        result.clear()
        if isinstance(value, dict):
            result.update({self.copy(key): self.copy(part) for key, part in value.items()})
        elif isinstance(value, set):
            result.update(map(self.copy, value))
        else:
            result.extend(map(self.copy, value))
        return result

    def _tuple(self, value: Any) -> Any:
        parts = [self.copy(part) for part in value]
        if all(new is old for new, old in zip(parts, value, strict=True)):
            return value
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)

    def _reference(self, value: Any) -> Any:
        """A bound method or weak reference of a copied module points to the copy."""
        if isinstance(value, types.MethodType):
            return types.MethodType(value.__func__, self._inner(value.__self__))
        if isinstance(value, partial):
            words = {name: self.copy(part) for name, part in value.keywords.items()}
            return partial(self.copy(value.func), *map(self.copy, value.args), **words)
        target = value()
        return value if id(target) not in self.inside else type(value)(self.copy(target))

    def _inner(self, value: Any) -> Any:
        return self.copy(value) if id(value) in self.inside or can_hold_state(value) else value


def can_hold_state(value: Any) -> bool:
    """Whether a plain object is copied: it has tensors, or it is of a class of the user's own and has numbers or containers.

    An object that makes or releases something when it comes or goes is always shared, as is one without a `__dict__`.
    """
    kind = type(value)
    if not isinstance(getattr(value, "__dict__", None), dict) or isinstance(value, Enum | type | types.ModuleType):
        return False
    if hasattr(kind, "__del__") or any("__new__" in vars(base) for base in kind.__mro__[:-1]):
        return False
    return _holds_tensors(value, 3) or (
        not is_library(kind) and any(isinstance(part, _STATE) for part in vars(value).values())
    )


def is_library(kind: type) -> bool:
    """Whether a class is of the standard library or of an installed package."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or "/lib/python"
    return "/lib/python" in file or "-packages/" in file


def _holds_tensors(value: Any, depth: int) -> bool:
    if isinstance(value, torch.Tensor | torch.nn.Module):
        return True
    if isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, list | tuple):
        parts = list(value)
    else:
        attributes = getattr(value, "__dict__", None)
        parts = list(attributes.values()) if isinstance(attributes, dict) else []
    return depth > 0 and any(_holds_tensors(part, depth - 1) for part in parts)
