"""The systems that are emulated, each with what its set-up is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgedl.errors import InvalidInput, UnknownName
from edgedl.targets.qemu.cores import AARCH64, ARM, Core


def _system(python: str) -> tuple[str, ...]:
    """Debian's packages of Python `python` and the libraries of every engine."""
    parts = (f"python{python}-minimal", f"libpython{python}-minimal", f"libpython{python}-stdlib")
    return ("libc6", "libstdc++6", "libgcc-s1", "zlib1g", "libexpat1", "libffi8", *parts)


@dataclass(frozen=True)
class Guest:
    """One kind of emulated machine.

    name: as in `--target`. title: for people. debian: the architecture as Debian calls it. machine: as wheels do.
    emulator: QEMU's program. cores: the default is called `default`. packages: Debian's. wheels: requirements that pip
    downloads. engines: wheels in the version that is installed here -> the version where none is. modules: what
    must be importable. formats: of the model files that its engines run. links: below its root, what Debian's packages make when
    they are installed. macros: for the C compiler, to build the instruction counter. suite, python: the release of Debian and its
    Python; of bookworm, where the engines come as wheels.
    """

    name: str
    title: str
    debian: str
    machine: str
    emulator: str
    cores: tuple[Core, ...]
    default: str
    packages: tuple[str, ...]
    wheels: tuple[str, ...]
    engines: Mapping[str, str]
    modules: tuple[str, ...]
    formats: frozenset[str]
    links: Mapping[str, str] = field(default_factory=dict)
    macros: tuple[str, ...] = ()
    suite: str = "bookworm"
    python: str = "3.11"

    def core(self, detail: str) -> Core:
        """The core of a target's detail; `max` is refused: QEMU 7.2 computes wrong int8 results with ARM64's."""
        cores = {core.name: core for core in self.cores}
        if detail == "max":
            why = "is no real processor, and gives wrong int8 results on ARM64 in QEMU 7.2"
            raise InvalidInput(f"core 'max' {why}: name one of {', '.join(cores)}")
        if (detail or self.default) not in cores:
            raise UnknownName("core", detail, cores)
        return cores[detail or self.default]


QEMU_AARCH64 = Guest(
    name="qemu-aarch64", title="ARM64", debian="arm64", machine="aarch64", emulator="qemu-aarch64",
    cores=AARCH64, default="cortex-a76", packages=_system("3.11"), wheels=("numpy",),
    engines={"onnxruntime": "1.23.2", "ai-edge-litert": "2.3.0"}, formats=frozenset({"onnx", "tflite"}),
    modules=("numpy", "onnxruntime", "ai_edge_litert.interpreter"),
)  # fmt: skip
"""The engines are of the version that is installed here, where it is: that makes int8 comparable."""
_NUMPY = ("python3-numpy", "libblas3", "liblapack3", "libgfortran5")
_NUMPY_LINKS = {f"usr/lib/arm-linux-gnueabihf/lib{name}.so.3": f"{name}/lib{name}.so.3" for name in ("blas", "lapack")}
QEMU_ARMHF = Guest(
    name="qemu-armhf", title="32-bit ARM (tflite-runtime)", debian="armhf", machine="armv7l", emulator="qemu-arm",
    cores=ARM, default="cortex-a7", packages=(*_system("3.11"), *_NUMPY),
    wheels=("tflite-runtime==2.14.0",), engines={}, formats=frozenset({"tflite"}),
    modules=("numpy", "tflite_runtime.interpreter"),
    links=_NUMPY_LINKS, macros=("ARM",),
)  # fmt: skip
"""tflite-runtime alone has armv7l wheels, the last of them 2.14.0, and takes numpy 1, which Debian has."""
QEMU_ARMHF_ORT = replace(
    QEMU_ARMHF, name="qemu-armhf-ort", title="32-bit ARM (ONNX Runtime)", suite="trixie", python="3.13", wheels=(),
    packages=(
        *_system("3.13"), *_NUMPY, "python3-onnxruntime", "libonnxruntime1.21", "libabsl20240722", "libcpuinfo0", "libonnx1t64",
        "libprotobuf32t64", "libpthreadpool0", "libre2-11", "libxnnpack0.20241108",
    ),
    formats=frozenset({"onnx"}), modules=("numpy", "onnxruntime"),
)  # fmt: skip
"""ONNX Runtime has no armv7l wheel; Debian 13 builds 1.21 for armhf."""
GUESTS = (QEMU_AARCH64, QEMU_ARMHF, QEMU_ARMHF_ORT)
HOST = (
    "qemu-user", "libcapstone4", "libffi8", "libglib2.0-0", "libgmp10", "libgnutls30", "libhogweed6", "libidn2-0", "libnettle8",
    "libnuma1", "libp11-kit0", "libpcre2-8-0", "libtasn1-6", "libunistring2", "liburing2",
)  # fmt: skip
"""packages of this machine's architecture: Debian's dynamic QEMU, which alone takes plugins, and what it is linked against"""
