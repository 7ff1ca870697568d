"""BLEU and ROUGE-L of sentences that are tuples of words.

K. Papineni et al., BLEU: a method for automatic evaluation of machine translation, ACL 2002: of a whole corpus, one reference
each, up to four words, without smoothing, between 0 and 1. C.-Y. Lin, ROUGE: a package for automatic evaluation of
summaries, 2004: the F-measure of the longest common subsequence, precision and recall of equal weight.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

Sentence = Sequence[str]


def bleu(told: Sequence[Sentence], references: Sequence[Sentence]) -> float:
    """Of a corpus; 0 where no four words in a row are right."""
    precisions = [_precision(told, references, n) for n in range(1, 5)]
    if not all(precisions):
        return 0.0
    lengths = sum(map(len, told)), sum(map(len, references))
    brevity = min(0.0, 1 - lengths[1] / lengths[0])
    return math.exp(brevity + sum(map(math.log, precisions)) / 4)


def _precision(told: Sequence[Sentence], references: Sequence[Sentence], n: int) -> float:
    pairs = [(_grams(sentence, n), _grams(reference, n)) for sentence, reference in zip(told, references, strict=True)]
    count = sum(sum(grams.values()) for grams, _ in pairs)
    return sum(sum((grams & wanted).values()) for grams, wanted in pairs) / count if count else 0.0


def _grams(sentence: Sentence, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(sentence[start : start + n]) for start in range(len(sentence) - n + 1))


def rouge_l(told: Sentence, reference: Sentence) -> float:
    """Of one sentence."""
    common = longest_common(told, reference)
    return 2 * common / (len(told) + len(reference)) if common else 0.0


def longest_common(one: Sentence, other: Sentence) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before, row = row, [0]
        for place, match in enumerate(other):
            row.append(before[place] + 1 if word == match else max(before[place + 1], row[-1]))
    return row[-1]
