"""The audio front end: log-mel energies in numpy, the same in training and on a device.

Signal: mono float32 in -1..1, 8 kHz. Frames: 256 samples (32 ms) under a Hann window, every 128 samples (16 ms). Each
frame: the squared magnitude of its discrete Fourier transform (129 bins of 31.25 Hz), weighted by 32 triangles whose
corners are equally spaced on the mel scale, mel = 2595 log10(1 + Hz / 700), from 60 to 4000 Hz; then
ln(energy + 1e-6), scaled by (x + 6) / 4, which brings speech near zero mean and unit variance.
"""

from __future__ import annotations

import functools

import numpy as np

from edgedl.spec import Array

RATE = 8000
FRAME = 256
HOP = 128
BANDS = 32
FLOOR = 1e-6


def log_mel(signal: Array) -> Array:
    """[samples] float32 -> [frames, 32] float32; frames = 1 + (samples - 256) // 128, at least one."""
    signal = np.pad(signal, (0, max(0, FRAME - len(signal))))
    frames = np.lib.stride_tricks.sliding_window_view(signal, FRAME)[::HOP] * np.hanning(FRAME)
    power = np.abs(np.fft.rfft(frames)) ** 2
    scaled: Array = ((np.log(power @ triangles() + FLOOR) + 6) / 4).astype(np.float32)
    return scaled


@functools.cache
def triangles(low: float = 60.0, high: float = RATE / 2) -> Array:
    """[129 bins, 32 bands]: the weight of each bin in each band."""
    corners = hertz(np.linspace(mel(low), mel(high), BANDS + 2))[:, None]
    bins = np.fft.rfftfreq(FRAME, 1 / RATE)
    rising = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    weights: Array = np.clip(np.minimum(rising, falling), 0, None).T
    return weights


def mel(hz: float) -> float:
    return float(2595 * np.log10(1 + hz / 700))


def hertz(mels: Array) -> Array:
    found: Array = 700 * (10 ** (mels / 2595) - 1)
    return found
