"""The processors that may be asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Core:
    """name: as QEMU calls it. part: CPU part number of the MIDR register. features: as in /proc/cpuinfo.

    devices: where it is found. architecture: of the instruction set, 8 or 7.
    """

    name: str
    part: str
    features: str
    devices: str
    architecture: int = 8

    @property
    def dot_product(self) -> bool:
        return "asimddp" in self.features.split()

    @property
    def fused_multiply(self) -> bool:
        """Whether there are fused multiply-add instructions; only in 32-bit ARM some cores lack them."""
        return self.architecture > 7 or "vfpv4" in self.features.split()

    def cpuinfo(self) -> str:
        """What /proc/cpuinfo says there; without it ONNX Runtime reads the host's and crashes."""
        fields = {
            "processor": "0", "model name": f"{self.name} (emulated)", "BogoMIPS": "125.00", "Features": self.features,
            "CPU implementer": "0x41", "CPU architecture": str(self.architecture), "CPU variant": "0x0", "CPU part": self.part,
            "CPU revision": "4",
        }  # fmt: skip
        return "".join(f"{key}\t: {value}\n" for key, value in fields.items())

    def kernels(self) -> str:
        """Which int8 kernels can run."""
        if self.dot_product:
            return f"{self.name} has dot product instructions: int8 runs its fast kernels, as on {self.devices}"
        return f"{self.name} has no dot product instructions: int8 runs its slower kernels, as on {self.devices}"


_V8_0 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_V8_2 = f"{_V8_0} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp ssbs"
AARCH64 = (
    Core("cortex-a53", "0xd03", _V8_0, "Raspberry Pi 3, Zero 2 and low-end phones"),
    Core("cortex-a72", "0xd08", _V8_0, "Raspberry Pi 4 and AWS Graviton 1"),
    Core("cortex-a76", "0xd0b", _V8_2, "Raspberry Pi 5 and phones since 2018"),
)
_V7 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpd32"
_VFPV4 = f"{_V7} vfpv4 idiva idivt"
ARM = (
    Core("cortex-a7", "0xc07", f"{_VFPV4} lpae evtstrm", "Raspberry Pi 2, i.MX 6ULL and STM32MP1", 7),
    Core("cortex-a8", "0xc08", f"{_V7} thumbee", "BeagleBone Black", 7),
    Core("cortex-a9", "0xc09", _V7, "i.MX 6, Zynq-7000 and Cyclone V", 7),
    Core("cortex-a15", "0xc0f", f"{_VFPV4} lpae evtstrm", "Jetson TK1 and Odroid XU4", 7),
)
"""QEMU's 32-bit user mode has no ARMv8 core: a Cortex-A53 under a 32-bit system is nearest to cortex-a7"""
FUSED = (
    "it is compiled for VFPv4, whose fused multiply-add float kernels use; int8 files may run, a float one needs an engine "
    "that is compiled for this core"
)
"""seen with tflite-runtime 2.14.0: the attributes of its library say VFPv4, and vfma.f32 ends a float file on Cortex-A8 and A9"""
