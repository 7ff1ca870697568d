"""Many integers in little text: the samples of a round, sorted and packed.

    base64(zlib(little-endian int64 differences of the sorted samples))

400,000 samples of a model of 2 microseconds take 36 kB instead of 2.4 MB. The order of the runs within a round is not kept.
"""

from __future__ import annotations

import base64
import binascii
import zlib

import numpy as np

from edgedl.errors import InvalidInput
from edgedl.measure.statistics import Samples


def pack(samples: Samples) -> str:
    """The text of whole numbers of 0 or more, in any order."""
    differences = np.diff(np.sort(samples), prepend=0).astype("<i8")
    return base64.b64encode(zlib.compress(differences.tobytes(), 9)).decode()


def unpack(text: str, count: int) -> Samples:
    """`count` sorted samples; InvalidInput if the text does not hold them."""
    try:
        raw = _inflated(base64.b64decode(text, validate=True), 8 * count)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise InvalidInput(f"packed samples are damaged: {error}") from error
    differences = np.frombuffer(raw, "<i8").astype(np.int64)
    if len(differences) and (differences.min() < 0 or differences.sum(dtype=np.float64) >= 1 << 62):
        raise InvalidInput("packed samples are damaged: they are not sorted, or too large")
    return np.cumsum(differences)


def _inflated(data: bytes, size: int) -> bytes:
    """Exactly `size` bytes; a text that would unpack to more is not unpacked."""
    stream = zlib.decompressobj()
    raw = stream.decompress(data, size + 1)
    if len(raw) != size or not stream.eof:
        raise ValueError(f"expected {size // 8} samples")
    return raw
