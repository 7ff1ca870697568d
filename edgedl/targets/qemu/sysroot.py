"""The set-up of qemu-aarch64: an ARM64 system that is only a folder, made without root and removed without a trace.

Everything is unpacked beside its place and gets it by one rename, after a model has run in every engine: there is a whole
sysroot or none. Downloads outlive an interruption.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgedl.errors import Unavailable
from edgedl.files import make_folder, publish, staging, write_atomic
from edgedl.targets import state
from edgedl.targets.downloads import Downloads, run
from edgedl.targets.qemu.cores import CORES, Core
from edgedl.targets.qemu.downloads import KEYRING, MIRROR, packages, wheels
from edgedl.targets.target import Status, Watch

NAME = "qemu-aarch64"
PYTHON = "3.11"
GUEST = (
    "libc6", "libstdc++6", "libgcc-s1", "zlib1g", "libexpat1", "libffi8", "python3.11-minimal", "libpython3.11-minimal",
    "libpython3.11-stdlib",
)  # fmt: skip
"""arm64 packages"""
HOST = (
    "qemu-user", "libcapstone4", "libffi8", "libglib2.0-0", "libgmp10", "libgnutls30", "libhogweed6", "libidn2-0", "libnettle8",
    "libnuma1", "libp11-kit0", "libpcre2-8-0", "libtasn1-6", "libunistring2", "liburing2",
)  # fmt: skip
"""packages of this machine's architecture: Debian's dynamic QEMU, which alone takes plugins, and what it is linked against"""
ENGINES = {"onnxruntime": "1.23.2", "ai-edge-litert": "2.3.0"}
"""wheel -> version where the engine is not installed here; where it is, the same version, which is what makes int8 comparable"""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Sysroot:
    """The folder of one set-up, whole or not there."""

    folder: Path

    @property
    def ready(self) -> Path:
        return self.folder / "sysroot"

    @property
    def qemu(self) -> Path:
        return self.ready / "host/usr/bin/qemu-aarch64"

    @property
    def libraries(self) -> Path:
        return self.ready / f"host/usr/lib/{platform.machine()}-linux-gnu"

    @property
    def python(self) -> Path:
        return self.ready / f"root/usr/bin/python{PYTHON}"

    @property
    def home(self) -> Path:
        return self.ready / "root/usr"

    @property
    def packages(self) -> Path:
        return self.ready / "packages"

    @property
    def plugin(self) -> Path:
        return self.ready / "count.so"

    def prefix(self, core: Core) -> Path:
        """What the guest sees as /: the same files for every core, and a /proc/cpuinfo of its own."""
        return self.ready / "cores" / core.name

    def contents(self) -> dict[str, object]:
        """What it was made of; {} where there is none."""
        try:
            found = json.loads((self.ready / "contents.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def sysroot() -> Sysroot:
    return Sysroot(state.folder(NAME))


def status() -> Status:
    if reason := impossible():
        return Status("impossible", reason)
    return Status("ready") if sysroot().contents() else Status("set-up", f"edgedl target setup {NAME}")


def impossible() -> str:
    """Why no set-up can be made on this machine; "" where it can."""
    if platform.system() != "Linux" or platform.machine() not in _ARCHITECTURES:
        return f"it needs Linux on x86-64 or ARM64, this is {platform.system()} on {platform.machine()}"
    if missing := [tool for tool in ("apt-get", "dpkg", "cc") if not shutil.which(tool)]:
        return f"it needs {', '.join(missing)} (Debian or Ubuntu, with: apt-get install gcc libc6-dev)"
    if not KEYRING.is_file():
        return f"it needs {KEYRING} (apt-get install debian-archive-keyring)"
    return ""


def wanted_wheels() -> list[str]:
    """numpy and both engines, in the versions that are installed here."""
    return ["numpy", *(f"{name}=={_version(name, default)}" for name, default in ENGINES.items())]


def _version(name: str, default: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return default


def setup(settings: Mapping[str, str], watch: Watch) -> None:
    """Download what is missing and build the sysroot, unless it is there with the same versions."""
    if reason := impossible():
        raise Unavailable(f"target {NAME!r} is not possible here: {reason}")
    place, wheel_names = sysroot(), wanted_wheels()
    if place.contents().get("wheels") == wheel_names:
        return
    downloads = Downloads(make_folder(place.folder / "downloads"))
    architecture = _ARCHITECTURES[platform.machine()]
    mirror = settings.get("mirror", MIRROR)
    names = [*(f"{name}:arm64" for name in GUEST), *(f"{name}:{architecture}" for name in HOST)]
    debs = packages(downloads, list(dict.fromkeys(names)), mirror, watch)
    whl = wheels(downloads, wheel_names, PYTHON, watch)
    with staging(place.folder) as stage:
        build(Sysroot(stage), debs, whl, watch)
        contents = {"wheels": wheel_names, "files": downloads.recorded()}
        write_atomic(stage / "sysroot" / "contents.json", json.dumps(contents, indent=1).encode())
        shutil.rmtree(place.ready, ignore_errors=True)
        publish(stage, place.folder)


def build(place: Sysroot, debs: list[Path], whl: list[Path], watch: Watch) -> None:
    """Unpack everything below `place`, compile the plugin, and compute something in the guest."""
    watch("unpacking")
    place.ready.mkdir()
    for deb in debs:
        _unpack(deb, place.ready)
    for wheel in whl:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place.packages)
    for core in CORES.values():
        _prefix(place, core)
    watch("compiling the instruction counter")
    compile_plugin(place.plugin)
    watch("trying it out")
    try_out(place)


def _unpack(deb: Path, into: Path) -> None:
    """Of the host's packages only the emulator and the libraries are kept."""
    arm = deb.name.endswith("_arm64.deb") and platform.machine() != "aarch64"
    guest = arm or any(deb.name.startswith(f"{name}_") for name in GUEST)
    target = into / ("root" if guest else "host")
    run(["dpkg", "-x", str(deb), str(target)], into, f"cannot unpack {deb.name}")
    shutil.rmtree(target / "usr/share", ignore_errors=True)
    for program in (target / "usr/bin").glob("qemu-*"):
        if program.name != "qemu-aarch64":
            program.unlink()


def _prefix(place: Sysroot, core: Core) -> None:
    prefix = place.prefix(core)
    (prefix / "proc").mkdir(parents=True)
    (prefix / "proc/cpuinfo").write_text(core.cpuinfo())
    for name in ("lib", "usr", "etc"):
        (prefix / name).symlink_to(Path("../../root") / name)


def compile_plugin(target: Path) -> None:
    """count.c with this machine's C compiler."""
    source = Path(__file__).with_name("count.c")
    words = ["cc", "-O2", "-fPIC", "-shared", "-o", str(target), str(source)]
    run(words, target.parent, "cannot compile the instruction counter (apt-get install gcc libc6-dev)")


def try_out(place: Sysroot) -> None:
    """The guest's Python imports numpy and both engines under the plugin; Unavailable with what it said if not."""
    from edgedl.targets.qemu.command import guest_command

    counts = place.ready / "tried"
    modules = "numpy, onnxruntime, ai_edge_litert.interpreter"
    command = guest_command(place, CORES["cortex-a53"], counts, place.packages, "-c", f"import {modules}")
    run(command, place.ready, "the emulated ARM64 does not run its engines")
    counts.unlink()


def remove() -> None:
    shutil.rmtree(state.folder(NAME), ignore_errors=True)
