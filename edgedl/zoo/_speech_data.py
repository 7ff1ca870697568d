"""Spoken digits: 3,000 recordings of the words zero to nine by six speakers, 8 kHz.

Source: Z. Jackson et al., Free Spoken Digit Dataset, https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0.
The official split: takes 0 to 4 of each speaker and word are the test part, so the speakers are in both parts.
"""

from __future__ import annotations

import functools
import io
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedl.datasets import Dataset, read
from edgedl.errors import InvalidArtifact
from edgedl.spec import Array
from edgedl.zoo._logmel import RATE

LICENCE = "CC BY-SA 4.0 (Free Spoken Digit Dataset)"
SPOKEN = Dataset(
    "free-spoken-digit-dataset",
    "https://codeload.github.com/Jakobovski/free-spoken-digit-dataset/zip/refs/heads/master",
    LICENCE,
    ("recordings/*.wav",),
    "04e1baae96c6a26e39c623f2b01d0182ddae627ba0ac02a3cdc17ba2af99fd9b",
    size=16_000_000,
)
TEST_TAKES = 5


@dataclass(frozen=True)
class Recording:
    """One word. signal: [samples] float32 in -1..1."""

    digit: int
    speaker: str
    take: int
    signal: Array


@functools.cache
def load() -> tuple[tuple[Recording, ...], tuple[Recording, ...]]:
    """(training, test) by the official split."""
    folder = SPOKEN.folder()
    found = [recording(path) for path in SPOKEN.files(folder).values()]
    return tuple(r for r in found if r.take >= TEST_TAKES), tuple(r for r in found if r.take < TEST_TAKES)


def recording(path: Path) -> Recording:
    """From a file called DIGIT_SPEAKER_TAKE.wav."""
    digit, speaker, take = path.stem.split("_")
    return Recording(int(digit), speaker, int(take), signal(path))


def signal(path: Path) -> Array:
    """16-bit mono samples of 8 kHz as float32 in -1..1; InvalidArtifact for any other file."""
    try:
        with wave.open(io.BytesIO(read(path))) as file:
            kind = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise InvalidArtifact(f"{path} is not a WAV file: {error}") from error
    if kind != (1, 2, RATE):
        raise InvalidArtifact(f"{path} has (channels, bytes, rate) {kind}: expected (1, 2, {RATE})")
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768
