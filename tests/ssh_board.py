"""A real SSH server on 127.0.0.1 whose commands run here in a home of their own, and the ways in which it fails."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib.metadata
import os
import shutil
import sysconfig
import threading
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest

ENGINES = ("numpy", "onnxruntime", "ai-edge-litert")


@dataclass
class Board:
    """home: of its user. prefix: stands before every command. cut_after: bytes from the client after which it hangs up, once.

    port: where it listens. commands: how many it ran.
    """

    folder: Path
    prefix: str = ""
    cut_after: int | None = None
    commands: int = 0
    port: int = 0
    key: Any = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    path: str = field(default_factory=lambda: os.environ["PATH"])

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def root(self) -> Path:
        return self.home / ".edgedl"

    @property
    def target(self) -> str:
        return f"ssh://pi@127.0.0.1:{self.port}"

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config"

    def know(self, key: Any) -> None:
        """The host key that the client believes in; None: none."""
        text = f"[127.0.0.1]:{self.port} {key.export_public_key().decode()}" if key else ""
        (self.folder / "known_hosts").write_text(text)

    def write_client(self) -> None:
        """A key, a configuration and known hosts for the ssh command, away from the user's own."""
        private = asyncssh.generate_private_key("ssh-ed25519")
        private.write_private_key(str(self.folder / "id"))
        (self.folder / "id").chmod(0o600)
        private.write_public_key(str(self.folder / "authorized_keys"))
        lines = {
            "IdentityFile": self.folder / "id", "UserKnownHostsFile": self.folder / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null", "IdentitiesOnly": "yes", "IdentityAgent": "none",
        }  # fmt: skip
        self.config.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))

    async def serve(self, process: Any) -> None:
        """One command of one connection."""
        self.commands += 1
        child = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", f"{self.prefix}{process.command}", cwd=self.home, env={"HOME": str(self.home), "PATH": self.path},
            stdin=-1, stdout=-1, stderr=-1,
        )  # fmt: skip
        try:
            await self.talk(process, child)
        finally:
            child._transport.close()  # type: ignore[attr-defined]

    async def talk(self, process: Any, child: Any) -> None:
        feeding = asyncio.create_task(self.feed(process, child))
        await asyncio.gather(pump(child.stdout.read, process.stdout), pump(child.stderr.read, process.stderr))
        code = await child.wait()
        feeding.cancel()
        process.exit_with_signal("KILL") if code < 0 else process.exit(code)

    async def feed(self, process: Any, child: Any) -> None:
        while data := await read(process.stdin.read):
            if self.cut_after is not None:
                self.cut_after -= len(data)
                if self.cut_after < 0:
                    self.cut_after = None
                    process.get_extra_info("connection").abort()
                    break
            child.stdin.write(data)
        child.stdin.close()

    def start(self) -> Callable[[], None]:
        """Listen in a thread; the function that ends it."""
        loop, ready = asyncio.new_event_loop(), threading.Event()

        async def listen() -> None:
            server = await asyncssh.listen(
                "127.0.0.1", self.port, server_host_keys=[self.key], process_factory=self.serve, encoding=None,
                authorized_client_keys=str(self.folder / "authorized_keys"), line_editor=False,
            )  # fmt: skip
            self.port = server.get_port()
            ready.set()

        def run() -> None:
            asyncio.set_event_loop(loop)
            loop.run_until_complete(listen())
            loop.run_forever()

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        def stop() -> None:
            asyncio.run_coroutine_threadsafe(end(), loop).result(20)
            loop.call_soon_threadsafe(loop.stop)

        threading.Thread(target=run, daemon=True).start()
        assert ready.wait(20)
        return stop


async def read(source: Callable[[int], Awaitable[bytes]]) -> bytes:
    try:
        return await source(1 << 16)
    except (asyncssh.Error, OSError):
        return b""


async def pump(source: Callable[[int], Awaitable[bytes]], sink: Any) -> None:
    """To the end of the source, even where the sink is gone."""
    while data := await read(source):
        try:
            sink.write(data)
        except (asyncssh.Error, OSError):
            continue


def wheels(folder: Path) -> Path:
    """Wheels of numpy and the engines that lead to the installed ones: a path file is all that they hold."""
    folder.mkdir()
    for name in ENGINES:
        version, normal = importlib.metadata.version(name), name.replace("-", "_")
        info = f"{normal}-{version}.dist-info"
        contents = {
            f"{normal}_installed.pth": f"{sysconfig.get_paths()['purelib']}\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        digests = {
            n: base64.urlsafe_b64encode(hashlib.sha256(t.encode()).digest()).rstrip(b"=") for n, t in contents.items()
        }
        contents[f"{info}/RECORD"] = (
            "".join(f"{n},sha256={d.decode()},\n" for n, d in digests.items()) + f"{info}/RECORD,,\n"
        )
        with zipfile.ZipFile(folder / f"{normal}-{version}-py3-none-any.whl", "w") as archive:
            for path, text in contents.items():
                archive.writestr(path, text)
    return folder


def made(folder: Path) -> Board:
    """A board that listens, with a client that may come in; skipped where there is no ssh."""
    if not shutil.which("ssh"):
        pytest.skip("there is no ssh here")
    board = Board(folder)
    board.home.mkdir()
    board.write_client()
    return board
