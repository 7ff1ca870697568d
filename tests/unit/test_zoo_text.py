"""Words, overlaps, stories and captions of the zoo's sequence tasks, and where their sentences come from."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedl import datasets
from edgedl.datasets import Dataset
from edgedl.errors import InvalidArtifact
from edgedl.spec import Array
from edgedl.zoo import _babi, _captions_data, _multi30k_data, summarisation, translation
from edgedl.zoo._overlap import bleu, longest_common, rouge_l
from edgedl.zoo._text import BEGIN, END, SPECIAL, UNKNOWN, Vocabulary, words_of

SENTENCES = st.lists(st.sampled_from("abcde"), max_size=8)


def test_words_and_marks_in_lower_case() -> None:
    assert words_of("Ein Mädchen läuft, 2 Hunde nicht.") == ("ein", "mädchen", "läuft", ",", "2", "hunde", "nicht", ".")


def test_a_vocabulary_holds_the_commonest_words_and_the_special_ones_first() -> None:
    words = Vocabulary.of([("b", "b", "a", "c", "c")], 5)
    assert words.words == (*SPECIAL, "b", "c")
    rows = words.rows([("b", "a", "c"), ()], 2)
    assert rows.tolist() == [[3, UNKNOWN], [END, END]]
    assert words.sentence(np.array([3, 4, END, 3])) == ("b", "c")
    assert words.sentence(np.array([3, 99])) == ("b", "<unk>"), (
        "a number that the network has and the vocabulary has not"
    )


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=6))
def test_a_sentence_of_known_words_comes_back(sentence: list[str]) -> None:
    words = Vocabulary.of(["abc"], 9)
    assert words.sentence(words.rows([sentence], 7)[0]) == tuple(sentence)


def test_bleu_of_the_paper_and_of_its_ends() -> None:
    reference = ["the", "cat", "is", "on", "the", "mat", "today"]
    assert bleu([reference], [reference]) == 1
    assert bleu([["a", "b", "c", "d"]], [reference]) == 0
    # 6 of 6, 5 of 5, 4 of 4 and 3 of 3 are right; one of seven words is missing
    assert bleu([reference[:6]], [reference]) == pytest.approx(np.exp(1 - 7 / 6))
    # 7 of 8 words, 5 of 7 pairs, 3 of 6 threes, 2 of 5 fours; longer than the reference
    told = ["the", "cat", "is", "on", "the", "red", "mat", "today"]
    assert bleu([told], [reference]) == pytest.approx((7 / 8 * 5 / 7 * 3 / 6 * 2 / 5) ** 0.25)
    # "the the the" counts once for each "the" of the reference: 2 of 4
    assert bleu([["the"] * 4], [reference]) == 0


def test_bleu_is_of_the_corpus_and_no_mean() -> None:
    one, other = ["a", "b", "c", "d", "e", "f"], ["g", "h", "i", "j", "k", "l"]
    assert bleu([one, other[:5]], [one, other]) == pytest.approx(np.exp(1 - 12 / 11))


@given(SENTENCES, SENTENCES)
def test_the_longest_common_subsequence(one: list[str], other: list[str]) -> None:
    common = longest_common(one, other)
    assert common == longest_common(other, one)
    assert common <= sum((Counter(one) & Counter(other)).values())
    assert longest_common(one, one) == len(one)
    assert longest_common([*one, "z"], [*other, "z"]) == common + 1
    assert 0 <= rouge_l(one, other) <= 1


def test_rouge() -> None:
    assert rouge_l(["police", "killed", "the", "gunman"], ["police", "kill", "the", "gunman"]) == 0.75
    assert rouge_l([], ["a"]) == 0


def test_the_grammar_stands_in_where_nothing_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_multi30k_data, "fetch", lambda progress=None: None)
    examples = _multi30k_data.grammar()
    assert len({english for _, english, _ in examples}) == len(examples) == 180
    assert ("zwei", "kinder", "laufen", "im", "park", ".") in [german for german, _, _ in examples]
    training, test = _multi30k_data.divided([(german, english) for german, english, _ in examples])
    assert len(test) == 36 and not set(training) & set(test)


def laid_out(folder: Path, name: str, lines: list[str]) -> None:
    path = folder / "multi30k" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


@pytest.fixture
def shared_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A small multi30k in the layout of the repository, under its own checksum."""
    for part in ("train", "test_2016_flickr"):
        laid_out(tmp_path, f"task1/raw/{part}.de.gz", ["Ein Hund.", "Zwei Hunde laufen."])
        laid_out(tmp_path, f"task1/raw/{part}.en.gz", ["A dog.", "Two dogs run."])
    for part in ("train", "test_2016"):
        for number in range(1, 6):
            laid_out(tmp_path, f"task2/raw/{part}.{number}.en.gz", [f"Dog {number}.", f"Two dogs {number}."])
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path))
    made = Dataset("multi30k", "https://nowhere.invalid/x.zip", "", _multi30k_data.MULTI30K.patterns, "")
    digest = made.digest(tmp_path / "multi30k")
    dataset = Dataset("multi30k", "https://nowhere.invalid/x.zip", "", made.patterns, digest)
    monkeypatch.setattr(_multi30k_data, "MULTI30K", dataset)
    for load in CACHED:
        load.cache_clear()
    return dataset


CACHED = (_multi30k_data.translations, _multi30k_data.descriptions, translation.load, summarisation.load)


@pytest.fixture(autouse=True)
def nothing_is_kept() -> object:
    yield
    for load in CACHED:
        load.cache_clear()


@pytest.mark.usefixtures("shared_files")
def test_pairs_and_fives_are_read_line_by_line() -> None:
    training, test, what = _multi30k_data.translations()
    assert what == "multi30k"
    dogs = ("zwei", "hunde", "laufen", "."), ("two", "dogs", "run", ".")
    assert training == test == [(("ein", "hund", "."), ("a", "dog", ".")), dogs]
    fives, _, _ = _multi30k_data.descriptions()
    assert fives[1] == tuple(("two", "dogs", str(number), ".") for number in range(1, 6))


@pytest.mark.usefixtures("shared_files")
def test_examples_become_numbers() -> None:
    first, _, (german, english), _ = translation.load()
    assert german.sentence(first.source[1]) == ("zwei", "hunde", "laufen", ".")
    assert first.source.shape == (2, translation.LENGTH)
    assert first.target.shape == (2, translation.LENGTH + 1)
    assert english.sentence(first.target[0]) == first.references[0] == ("a", "dog", ".")
    shown, _, words, _ = summarisation.load()
    assert words.sentence(shown.source[0])[:6] == ("dog", "1", ".", "dog", "2", ".")
    assert shown.references[0] == ("dog", "5", ".")


def test_an_altered_file_is_refused(shared_files: Dataset, tmp_path: Path) -> None:
    laid_out(tmp_path, "task1/raw/train.de.gz", ["Ein Hund.", "Zwei Katzen laufen."])
    datasets._verified.cache_clear()
    with pytest.raises(InvalidArtifact, match="does not hold the multi30k that edgedl knows"):
        _multi30k_data.translations()


def test_the_shared_files_where_they_are() -> None:
    dataset = _multi30k_data.MULTI30K
    place = next((place for place in dataset.places() if dataset.files(place)), None)
    if place is None:
        pytest.skip(f"multi30k is not here: set {datasets.VARIABLE}")
    assert dataset.digest(place) == dataset.sha256


def test_stories_can_be_answered_from_their_facts() -> None:
    """Told again by the rules, fact by fact, oldest first."""
    made = _babi.stories(300, 0)
    assert set(made.answer) == set(range(len(_babi.ROOMS)))
    kinds = Counter(len(words(question)) for question in made.question)
    assert min(kinds.values()) > 60, "people and things are both asked for"
    for facts, question, answer in zip(made.facts, made.question, made.answer, strict=True):
        assert where(facts, words(question)[-1]) == _babi.ROOMS[answer]


def words(row: Array) -> tuple[str, ...]:
    return _babi.VOCABULARY.sentence(row)


def where(facts: Array, asked: str) -> str:
    rooms: dict[str, str] = {}
    holder: dict[str, str] = {}
    for person, verb, *_, last in filter(None, map(words, facts[::-1])):
        if verb == "went":
            rooms[person] = last
            rooms |= {thing: last for thing, held in holder.items() if held == person}
        elif verb == "took":
            assert rooms.get(last, rooms[person]) == rooms[person], "nobody takes what lies elsewhere"
            holder[last] = person
            rooms[last] = rooms[person]
        else:
            assert holder.pop(last) == person
    return rooms[asked]


def test_captions_say_what_was_counted() -> None:
    assert " ".join(_captions_data.caption(12, 1, 0)) == "red cells , one white cell , no platelets"
    assert " ".join(_captions_data.caption(0, 3, 9)) == "no red cells , two white cells , several platelets"
    made = _captions_data.captioned(_captions_data.drawn(20, 0))
    for density, row in zip(made.density, made.captions, strict=True):
        counts = [round(float(total)) for total in density.sum((1, 2))]
        assert _captions_data.VOCABULARY.sentence(row) == _captions_data.caption(*counts)
        assert row[-1] == END and BEGIN not in row


def test_a_density_map_is_where_the_box_is() -> None:
    boxes = np.array([[0.0, 0.0, 0.1, 0.1], [0.9, 0.9, 1.0, 1.0]], np.float32)
    maps = _captions_data.density(boxes, np.array([0, 2]))
    assert maps.shape == (3, 15, 20)
    assert maps[0, :2, :2].sum() == pytest.approx(1) and maps[2, -2:, -2:].sum() == pytest.approx(1)
    assert maps[1].sum() == 0
