"""Pruning: fewer channels, heads or hidden units within a budget, recovered, checked on the exported file.

groups       which channels go together       importance   how much each of them matters
sensitivity  how much each layer matters      selection    which go, for a ratio
search       the ratio that meets a target    staircase    the multiples that pay in an engine
recovery     training after pruning           saved        plan.json and weights.safetensors
"""

from __future__ import annotations
