"""The hidden folder of a pruning under way: what is finished stays there, and the same command goes on from it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from torch import nn

from edgedl import weights
from edgedl.errors import InvalidInput
from edgedl.files import make_folder, write_atomic
from edgedl.measure.codec import decode

NAME = ".pruning"
T = TypeVar("T")


@dataclass(frozen=True)
class Workshop:
    """folder: inside the output folder; everything in it belongs to one call, told by its identity."""

    folder: Path
    fresh: bool = False

    @classmethod
    def at(cls, out: Path, identity: str, force: bool) -> Workshop:
        """The folder of this call; InvalidInput if it holds the work of another one."""
        folder, fresh = out / NAME, not out.exists()
        told = folder / "identity.txt"
        if folder.is_dir() and (force or not told.is_file()):
            shutil.rmtree(folder)
        if told.is_file() and told.read_text(errors="replace") != identity:
            raise InvalidInput(f"{folder} holds the interrupted work of another call: --force begins anew, another -o keeps both")  # fmt: skip
        if not told.is_file():
            write_atomic(make_folder(folder) / told.name, identity.encode())
        return cls(folder, fresh)

    def kept(self, name: str, kind: type[T], make: Callable[[], T]) -> T:
        """The result of that name which an interrupted run left, else the newly made one."""
        path = self.folder / f"{name}.json"
        if path.is_file():
            return decode(kind, json.loads(path.read_text()), str(path))
        result = make()
        write_atomic(path, json.dumps(asdict(result)).encode())  # type: ignore[call-overload]
        return result

    def trained(self, name: str, module: nn.Module, train: Callable[[nn.Module], nn.Module]) -> nn.Module:
        """The module with the weights of that name which an interrupted run left, else the newly trained one."""
        path = self.folder / f"{name}.safetensors"
        if path.is_file():
            weights.load_into(module, path)
            return module
        result = train(module)
        weights.save(result, path)
        return result

    def close(self) -> None:
        """Remove it, and the output folder too if it was made for it and holds nothing."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.fresh:
            with contextlib.suppress(OSError):
                self.folder.parent.rmdir()
