"""Sentences as numbers: words and marks of punctuation in lower case, a vocabulary of the commonest ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgedl.spec import Array

END, BEGIN, UNKNOWN = 0, 1, 2
SPECIAL = ("<end>", "<begin>", "<unk>")
"""The first words of every vocabulary; number 0 fills a row up as well."""

Words = tuple[str, ...]


def words_of(line: str) -> Words:
    """`A dog runs.` -> a, dog, runs, and the full stop."""
    return tuple(re.findall(r"\w+|[^\w\s]", line.lower()))


@dataclass(frozen=True)
class Vocabulary:
    """words: word of each number. The numbers of a word outside it are UNKNOWN."""

    words: Words
    numbers: dict[str, int] = field(repr=False, compare=False)

    @classmethod
    def of(cls, sentences: Iterable[Sequence[str]], size: int) -> Vocabulary:
        """The `size` commonest words, SPECIAL among them; equally common ones by the alphabet. Fewer where there are fewer."""
        counted = Counter(word for sentence in sentences for word in sentence)
        ranked = sorted(counted, key=lambda word: (-counted[word], word))
        words = (*SPECIAL, *ranked[: size - len(SPECIAL)])
        return cls(words, {word: number for number, word in enumerate(words)})

    def rows(self, sentences: Sequence[Sequence[str]], length: int) -> Array:
        """[n, length] int64, cut or filled up with END on the right."""
        rows = np.full((len(sentences), length), END, np.int64)
        for row, sentence in zip(rows, sentences, strict=True):
            found = [self.numbers.get(word, UNKNOWN) for word in sentence[:length]]
            row[: len(found)] = found
        return rows

    def sentence(self, tokens: Array) -> Words:
        """The words before the first END."""
        return tuple(self.words[token] if token < len(self.words) else SPECIAL[UNKNOWN] for token in before_end(tokens))


def before_end(tokens: Array) -> list[int]:
    ends = np.flatnonzero(tokens == END)
    return [int(token) for token in tokens[: ends[0] if len(ends) else len(tokens)]]
