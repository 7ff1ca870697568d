"""What a model takes of the flash: its own bytes, and an estimate of the code that runs it."""

from __future__ import annotations

from edgedl.measure import Figure

CORE = 16_000
"""bytes of the interpreter on a Cortex-M3, as the project's documentation tells it"""
LEAST, TYPICAL, MOST = 1_500, 10_200, 17_100
"""bytes for each kind of operator, from three published sizes of the project's keyword_benchmark, which has four kinds: 22 kB
(README of 2019), 56,860 bytes of text (tensorflow/tflite-micro pull request 378) and 84,496 (tensorflow/tensorflow pull request
47658, Xtensa)"""
BASIS = (
    "the file and code of 16 kB and 10.2 kB for each kind of operator (1.5 to 17.1), from published sizes of TFLM's keyword_benchmark; "
    "the rest of the program is not counted"
)


def flash(size: int, operators: tuple[str, ...]) -> Figure:
    """size: of the file, in bytes."""
    kinds = len(set(operators))
    value, low, high = (float(size + CORE + kinds * each) for each in (TYPICAL, LEAST, MOST))
    return Figure("flash", value, "B", "estimated", low, high, BASIS)
