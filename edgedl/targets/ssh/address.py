"""Which board, and how ssh is called for it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from edgedl.errors import InvalidInput

CONFIG = "EDGEDL_SSH_CONFIG"
"""The environment variable that names another configuration file than ~/.ssh/config (ssh -F)"""
_TEXT = re.compile(
    r"//(?:([A-Za-z0-9_][\w.+-]*)@)?([A-Za-z0-9_][\w.-]*|\[[0-9A-Fa-f:.]+(?:%\w+)?\])(?::([0-9]{1,5}))?/?"
)
OPTIONS = {
    "BatchMode": "yes", "StrictHostKeyChecking": "yes", "ConnectTimeout": "10", "ConnectionAttempts": "1",
    "ServerAliveInterval": "5", "ServerAliveCountMax": "3", "RemoteCommand": "none", "LogLevel": "INFO",
    "ClearAllForwardings": "yes", "ControlMaster": "no",
}  # fmt: skip
"""of ssh: it asks nothing, believes no unknown host key, and notices within 15 s that a board is gone"""


@dataclass(frozen=True)
class Address:
    """user, port: None where ~/.ssh/config decides."""

    host: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def of(cls, detail: str) -> Address:
        """From what stands behind `ssh:`; InvalidInput if it is no address."""
        match = _TEXT.fullmatch(detail)
        if not match or not 1 <= int(match[3] or 22) <= 65535:
            raise InvalidInput(f"--target ssh:{detail!r}: expected ssh://user@host or ssh://user@host:port")
        return cls(match[2].strip("[]"), match[1], int(match[3]) if match[3] else None)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{f'{self.user}@' if self.user else ''}{host}{f':{self.port}' if self.port else ''}"

    @property
    def known_as(self) -> str:
        """How known_hosts and ssh-keygen call it."""
        return f"[{self.host}]:{self.port}" if self.port not in (None, 22) else self.host

    def command(self, remote: str) -> tuple[str, ...]:
        """ssh, running `remote` in the login shell there, without a terminal."""
        config = os.environ.get(CONFIG)
        options = [word for key, value in OPTIONS.items() for word in ("-o", f"{key}={value}")]
        who = [*(["-l", self.user] if self.user else []), *(["-p", str(self.port)] if self.port else [])]
        return ("ssh", "-T", *(["-F", config] if config else []), *options, *who, "--", self.host, remote)
