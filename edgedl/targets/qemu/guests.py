"""The systems that are emulated, each with what its set-up is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgedl.errors import InvalidInput, UnknownName
from edgedl.targets.qemu.cores import AARCH64, ARM, Core

PYTHON = "3.11"
"""of Debian bookworm; the engines have wheels for it"""
_PYTHON = (
    "libc6", "libstdc++6", "libgcc-s1", "zlib1g", "libexpat1", "libffi8", "python3.11-minimal", "libpython3.11-minimal",
    "libpython3.11-stdlib",
)  # fmt: skip


@dataclass(frozen=True)
class Guest:
    """One kind of emulated machine.

    name: as in `--target`. title: for people. debian: the architecture as Debian calls it. machine: as wheels do.
    emulator: QEMU's program. cores: the default is called `default`. packages: Debian's. wheels: requirements that pip
    downloads. engines: wheels in the version that is installed here -> the version where none is. modules: what
    must be importable. formats: of the model files that its engines run. links: below its root, what Debian's packages make when
    they are installed. macros: for the C compiler, to build the instruction counter.
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
    cores=AARCH64, default="cortex-a76", packages=_PYTHON, wheels=("numpy",),
    engines={"onnxruntime": "1.23.2", "ai-edge-litert": "2.3.0"}, formats=frozenset({"onnx", "tflite"}),
    modules=("numpy", "onnxruntime", "ai_edge_litert.interpreter"),
)  # fmt: skip
"""The engines are of the version that is installed here, where it is: that makes int8 comparable."""
_ARM_LIBRARIES = "usr/lib/arm-linux-gnueabihf"
QEMU_ARMHF = Guest(
    name="qemu-armhf", title="32-bit ARM", debian="armhf", machine="armv7l", emulator="qemu-arm",
    cores=ARM, default="cortex-a7", packages=(*_PYTHON, "python3-numpy", "libblas3", "liblapack3", "libgfortran5"),
    wheels=("tflite-runtime==2.14.0",), engines={}, formats=frozenset({"tflite"}),
    modules=("numpy", "tflite_runtime.interpreter"),
    links={f"{_ARM_LIBRARIES}/lib{name}.so.3": f"{name}/lib{name}.so.3" for name in ("blas", "lapack")}, macros=("ARM",),
)  # fmt: skip
"""tflite-runtime alone has armv7l wheels, the last of them 2.14.0, and takes numpy 1, which Debian has."""
