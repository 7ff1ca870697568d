"""What ssh and the board said, in one sentence with the way out."""

from __future__ import annotations

import re

from edgedl.errors import EdgedlError, Unavailable, Unreachable
from edgedl.targets.ssh.address import Address

_NOT_THERE = "not set up, or its Python is gone: edgedl target setup {address}"
_PERMANENT: tuple[tuple[str, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the one that is known, which a new installation does, and an attacker: if it is "
        "expected, ssh-keygen -R '{known_as}', then ssh-keyscan{port} {host} >> ~/.ssh/known_hosts",
    ),
    (
        r"No \S+ host key is known|Host key verification failed",
        "its host key is not known: ssh-keyscan{port} {host} >> ~/.ssh/known_hosts, and compare it with the board's own "
        "(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there)",
    ),
    (
        r"Could not resolve hostname (?!.*Temporary failure)",
        "no such host name: write it as in ~/.ssh/config, or give its address",
    ),
    (
        r"Permission denied|Too many authentication failures",
        "it accepts no key of yours, and no password is asked for: ssh-copy-id{copy_port} {who}",
    ),
    (r"UNPROTECTED PRIVATE KEY|bad permissions", "the private key may be read by others: chmod 600 it"),
    (
        r"[Bb]ad configuration option|[Cc]an't open user config file|terminating,",
        "ssh does not read its configuration: {last}",
    ),
)
"""(what ssh says, what it means): what is so until somebody changes it; the first that fits counts"""
_PASSING: tuple[tuple[str, str], ...] = (
    (
        r"Temporary failure in name resolution",
        "its name cannot be looked up just now: is this machine in its network?",
    ),
    (
        r"Connection refused",
        "it refuses the connection: start its SSH server, or name its port (ssh://user@host:port)",
    ),
    (
        r"timed out|No route to host|Network is unreachable|not responding",
        "it does not answer: is it on, and in this network?",
    ),
    (
        r"closed by|Connection reset|Broken pipe|send disconnect|Connection aborted|kex_exchange",
        "the connection was cut: {last}",
    ),
)
"""what may be over when it is tried again"""


def explain(address: Address, code: int, said: str, python: str = "") -> EdgedlError:
    """For what ended a command with an exit code, Unreachable where that may pass, else Unavailable.

    python: which one was asked for, if it was for a set-up.
    """
    if code == 255 and not board_said(said):
        return _ssh_said(address, said)
    return Unavailable(f"{address}: {_meaning(address, code, said, python)}")


def board_said(said: str) -> str | None:
    """What edgedl.targets.ssh.board left on standard error."""
    found = [line.partition("edgedl-board: ")[2] for line in said.splitlines() if line.startswith("edgedl-board: ")]
    return found[-1] if found else None


def _meaning(address: Address, code: int, said: str, python: str) -> str:
    if own := board_said(said):
        return own
    if code in (126, 127):
        return f"it has no {python}: install it there, or name another with --set python=PATH" if python else (
            _NOT_THERE.format(address=address)
        )  # fmt: skip
    return f"ended with exit code {code}: {_last(said)}"


def _ssh_said(address: Address, said: str) -> EdgedlError:
    """What ssh itself meant, when it ends with 255; without a word it is the connection, or a signal there."""
    words = {
        "host": address.host, "known_as": address.known_as, "last": _last(said),
        "port": f" -p {address.port}" if address.port else "", "copy_port": f" -p {address.port}" if address.port else "",
        "who": f"{address.user}@{address.host}" if address.user else address.host,
    }  # fmt: skip
    for kind, known in ((Unavailable, _PERMANENT), (Unreachable, _PASSING)):
        for pattern, meaning in known:
            if re.search(pattern, said):
                return kind(f"{address}: {meaning.format(**words)}")
    return Unreachable(f"{address}: the connection was cut: {words['last']}")


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "ssh said nothing"
