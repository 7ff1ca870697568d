"""Debian's packages and the engines' wheels, each downloaded once and checked again before it is used.

apt gets lists and a state of its own, so nothing of the system's is touched and root is not needed; apt checks Debian's
signature, pip its index's checksums, and what was downloaded is written down with its sha256.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from edgedl.errors import Unavailable
from edgedl.files import staging
from edgedl.targets.downloads import Downloads, run
from edgedl.targets.target import Watch

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR = "http://deb.debian.org/debian"
SUITE = "bookworm"
"""the release whose QEMU, 7.2, was tried"""
_ABIS = ("2_28", "2_27", "2_17", "2_34", "2014")


def packages(downloads: Downloads, wanted: Sequence[str], mirror: str, watch: Watch, suite: str = SUITE) -> list[Path]:
    """Debian's packages `NAME:ARCHITECTURE`; those that are there already are not asked for again."""
    missing = [name for name in wanted if not _package(downloads, name)]
    if missing:
        watch(f"downloading {len(missing)} packages from {mirror}")
        with staging(downloads.folder) as scratch:
            for fresh in _apt(scratch, missing, mirror, suite):
                downloads.keep(fresh)
    found = [_package(downloads, name) for name in wanted]
    if None in found:
        raise Unavailable(
            f"{mirror} has no package {wanted[found.index(None)]} in {suite}: choose another --set mirror=URL"
        )
    return [path for path in found if path]


def _package(downloads: Downloads, name: str) -> Path | None:
    package, _, architecture = name.partition(":")
    return downloads.find(f"{package}_", f"_{architecture}.deb")


def _apt(scratch: Path, names: Sequence[str], mirror: str, suite: str) -> list[Path]:
    (scratch / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {suite} main\n")
    (scratch / "status").touch()
    architectures = sorted({name.partition(":")[2] for name in names})
    into = scratch / "packages"
    for folder in (into, scratch / "state/lists/partial", scratch / "cache/archives/partial"):
        folder.mkdir(parents=True)
    options = {
        "Dir::State": scratch / "state", "Dir::State::status": scratch / "status", "Dir::Cache": scratch / "cache",
        "Dir::Etc::sourcelist": scratch / "sources.list", "Dir::Etc::sourceparts": "-", "Dir::Etc::preferencesparts": "-",
        "APT::Architecture": architectures[0], "Acquire::Languages": "none", "APT::Sandbox::User": "root",
        "Acquire::Retries": "3",
    }  # fmt: skip
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    words += [word for a in architectures for word in ("-o", f"APT::Architectures::={a}")]
    run(["apt-get", "-qq", *words, "update"], into, f"apt cannot read {mirror}")
    run(["apt-get", "-qq", *words, "download", *names], into, f"apt cannot download from {mirror}")
    return sorted(into.glob("*.deb"))


def wheels(downloads: Downloads, wanted: Sequence[str], python: str, machine: str, watch: Watch) -> list[Path]:
    """Wheels for `machine` (as aarch64) of the requirements `NAME==VERSION` or `NAME`, for CPython `python` (as 3.11), without what they require."""
    found = []
    for requirement in wanted:
        name, _, version = requirement.partition("==")
        prefix = f"{name.replace('-', '_')}-{version}{'-' if version else ''}"
        there = downloads.find(prefix, f"{machine}.whl")
        found.append(there or _wheel(downloads, requirement, python, machine, watch))
    return found


def _wheel(downloads: Downloads, requirement: str, python: str, machine: str, watch: Watch) -> Path:
    watch(f"downloading the {machine} wheel of {requirement}")
    platforms = [word for abi in _ABIS for word in ("--platform", f"manylinux{'_' * ('_' in abi)}{abi}_{machine}")]
    with staging(downloads.folder) as scratch:
        words = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", *platforms]
        run(
            [sys.executable, "-m", "pip", *words, "--python-version", python, "-d", str(scratch), requirement],
            scratch, f"pip finds no {machine} wheel of {requirement} for Python {python}",
        )  # fmt: skip
        return downloads.keep(next(scratch.glob("*.whl")))
