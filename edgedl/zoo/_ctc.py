"""Connectionist temporal classification on the device: from the scores of each frame to labels, in numpy alone.

A. Graves et al., Connectionist temporal classification, ICML 2006. Label 0 is the blank.
"""

from __future__ import annotations

import numpy as np

from edgedl.spec import Array

BLANK = 0


def greedy(logits: Array) -> list[int]:
    """[frames, labels] -> the best label of each frame, repeats merged, blanks dropped."""
    best = logits.argmax(1)
    changed = np.concatenate([[True], best[1:] != best[:-1]])
    return [int(label) for label in best[changed] if label != BLANK]
