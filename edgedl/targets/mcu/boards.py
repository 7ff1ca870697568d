"""Boards by name. Sizes are those of the vendors' data sheets, where 1 KB is 1024 bytes."""

from __future__ import annotations

from dataclasses import dataclass

KB = 1024
MB = 1024 * KB


@dataclass(frozen=True)
class Board:
    """ram: bytes, all together. block: the largest piece of it with one range of addresses, which is what an arena can have.

    flash: bytes that hold program and model. source: the document with these figures. predicted: the device of
    `--target predicted:` that was measured on this very board.
    """

    name: str
    chip: str
    core: str
    flash: int
    ram: int
    block: int
    source: str
    predicted: str | None = None


_NORDIC = "Nordic Semiconductor product specification"
_ST = "STMicroelectronics data sheet"
BOARDS = {
    board.name: board
    for board in (
        Board("arduino-nano-33-ble", "nRF52840", "Cortex-M4F 64 MHz", MB, 256 * KB, 256 * KB, "docs.arduino.cc/hardware/nano-33-ble"),
        Board("nrf52840-dk", "nRF52840", "Cortex-M4F 64 MHz", MB, 256 * KB, 256 * KB, f"{_NORDIC} nRF52840, Memory"),
        Board("nrf5340-dk", "nRF5340", "Cortex-M33 128 MHz", MB, 512 * KB, 512 * KB, f"{_NORDIC} nRF5340, application core, Memory"),
        Board("raspberry-pi-pico", "RP2040", "Cortex-M0+ 133 MHz", 2 * MB, 264 * KB, 264 * KB, "RP2040 data sheet 2.6 and Pico data sheet"),
        Board("raspberry-pi-pico-2", "RP2350", "Cortex-M33 150 MHz", 4 * MB, 520 * KB, 520 * KB, "RP2350 data sheet 4.2 and Pico 2 data sheet"),
        Board("esp32-s3-devkitc-1", "ESP32-S3", "Xtensa LX7 240 MHz", 8 * MB, 512 * KB, 416 * KB, "ESP32-S3 reference manual, SRAM1; module N8"),
        Board("stm32f407g-disc1", "STM32F407VG", "Cortex-M4F 168 MHz", MB, 192 * KB, 128 * KB, f"{_ST} DS8626 (64 KB are tied to the core)"),
        Board("stm32f746g-disco", "STM32F746NG", "Cortex-M7 216 MHz", MB, 320 * KB, 320 * KB, f"{_ST} DS10916"),
        Board("nucleo-h743zi2", "STM32H743ZI", "Cortex-M7 480 MHz", 2 * MB, MB, 512 * KB, f"{_ST} DS12110 (AXI SRAM)"),
        Board("nucleo-h7a3zi-q", "STM32H7A3ZI", "Cortex-M7 280 MHz", 2 * MB, 1376 * KB, MB, f"{_ST} DS13195 (AXI SRAM)", "cortex-m7"),
        Board("nucleo-l4r5zi", "STM32L4R5ZI", "Cortex-M4F 120 MHz", 2 * MB, 640 * KB, 640 * KB, f"{_ST} DS12023", "cortex-m4"),
        Board("nucleo-u575zi-q", "STM32U575ZI", "Cortex-M33 160 MHz", 2 * MB, 784 * KB, 768 * KB, f"{_ST} DS13737", "cortex-m33"),
        Board("corstone-300", "SSE-300 on MPS3", "Cortex-M55", 2 * MB, 2 * MB, 2 * MB, "Arm ml-embedded-evaluation-kit, data and SSE-300 SRAM"),
    )
}  # fmt: skip
