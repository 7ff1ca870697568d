"""Devices that failed again and again are skipped until they are forgiven."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgedl.errors import InvalidInput, UnknownName
from edgedl.files import make_folder, write_atomic
from edgedl.measure.codec import decode
from edgedl.targets import state

LIMIT = 3
"""measurements in a row that a device spoils before it is skipped"""


@dataclass(frozen=True)
class Trouble:
    """name: of the device in its fleet file. failures: in a row. reason, date: of the last."""

    name: str
    failures: int
    reason: str
    date: str

    def told(self) -> str:
        return f"it failed {self.failures} times in a row, last on {self.date}: {self.reason}"


@dataclass(frozen=True)
class Quarantine:
    """path: a JSON file, target -> trouble. A damaged one is as good as none: it only costs the tries."""

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False)

    def troubles(self) -> dict[str, Trouble]:
        try:
            return {target: decode(Trouble, one, target) for target, one in json.loads(self.path.read_text()).items()}
        except (OSError, ValueError, AttributeError, InvalidInput):
            return {}

    def skipped(self) -> dict[str, Trouble]:
        """Target -> why it is skipped."""
        return {target: one for target, one in self.troubles().items() if one.failures >= LIMIT}

    def failed(self, target: str, name: str, reason: str) -> None:
        with self._lock:
            known = self.troubles()
            before = known[target].failures if target in known else 0
            date = datetime.now(timezone.utc).isoformat(timespec="seconds")
            self._write({**known, target: Trouble(name, before + 1, reason, date)})

    def worked(self, target: str) -> None:
        with self._lock:
            known = self.troubles()
            if known.pop(target, None):
                self._write(known)

    def forgive(self, name: str) -> None:
        """By its name or its target; UnknownName if it is not skipped, InvalidInput if none is."""
        with self._lock:
            skipped = self.skipped()
            meant = [target for target, one in skipped.items() if name in (one.name, target)]
            if not skipped:
                raise InvalidInput(
                    f"no device is skipped, so there is nothing to forgive {name!r} for (see: edgedl targets)"
                )
            if not meant:
                raise UnknownName("skipped device", name, [one.name for one in skipped.values()])
            self._write({target: one for target, one in self.troubles().items() if target not in meant})

    def _write(self, known: Mapping[str, Trouble]) -> None:
        make_folder(self.path.parent)
        texts: dict[str, Any] = {target: asdict(one) for target, one in known.items()}
        write_atomic(self.path, json.dumps(texts, indent=1).encode())


def quarantine() -> Quarantine:
    """The one of this user."""
    return Quarantine(state.folder("fleet") / "troubles.json")
