"""The decoded sequences of an encoder-decoder against those of its reference: how many are the same, and the score."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain

from edgedl.errors import InvalidReference
from edgedl.group import TOKENS
from edgedl.schemes import Tolerance
from edgedl.spec import Array, Feeds
from edgedl.task import Predict, Score
from edgedl.verify.evidence import Evidence, Match, dropped, over_budget
from edgedl.verify.parity import Parity

Sequences = list[Array]
"""Tokens [batch, length], a batch each."""


def prove_sequences(
    candidate: Predict,
    reference: Predict,
    batches: Iterable[Feeds],
    tolerance: Tolerance,
    evaluate: Callable[[Predict], Score] | None = None,
    *,
    reference_name: str,
    engine: str,
    inputs: str,
    parity: tuple[Parity, ...] = (),
) -> Evidence:
    """Decode every batch, and all that the score asks for, by the candidate and by the reference. parity: of the members."""
    got: Sequences = []
    want: Sequences = []
    candidate, reference = _keeping(candidate, got), _keeping(reference, want)
    for feeds in batches:
        candidate(feeds), reference(feeds)
    score = dropped(evaluate, reference, candidate)
    match = _match(got, want, tolerance)
    failures = (*_too_few(match), *over_budget(score, tolerance))
    return Evidence(reference_name, engine, inputs, tolerance, parity, score, failures, match=match)


def _keeping(predict: Predict, kept: Sequences) -> Predict:
    def keep(feeds: Feeds) -> dict[str, Array]:
        outputs = predict(feeds)
        kept.append(outputs[TOKENS])
        return outputs

    return keep


def _match(got: Sequences, want: Sequences, tolerance: Tolerance) -> Match:
    if [tokens.shape for tokens in got] != [tokens.shape for tokens in want]:
        raise InvalidReference("the task's evaluate asks for other inputs at every call: its data must not change")
    equal = [bool((a == b).all()) for a, b in zip(chain(*got), chain(*want), strict=True)]
    return Match(len(equal), sum(equal) / len(equal), tolerance.least_match)


def _too_few(match: Match) -> tuple[str, ...]:
    if match.equal >= match.least:
        return ()
    return (
        f"{match.equal:.1%} of {match.sequences} decoded sequences are the reference's, fewer than {match.least:.1%}",
    )
