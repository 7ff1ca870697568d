"""How the zoo reads names, photos and sound, and what a device does with the answers."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from edgedl.errors import InvalidArtifact
from edgedl.spec import Array
from edgedl.zoo import _cells_data, _mnist_data, _names_data, keywords, speech_ctc
from edgedl.zoo._ctc import greedy
from edgedl.zoo._logmel import BANDS, log_mel, triangles
from edgedl.zoo._names_data import CHARACTERS, LENGTH, divided, encode
from edgedl.zoo._speech_data import Recording, recording
from edgedl.zoo.names_rnn import last_of

ANNOTATION = (
    """<annotation>
<object><name>WBC</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>41</xmax><ymax>52</ymax></bndbox></object>
<object><name>Platelets</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>9</xmax><ymax>20</ymax></bndbox></object>
"""
    + 5 * "<object><name>RBC</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>8</xmax><ymax>8</ymax></bndbox></object>\n"
)


def spelled(row: Array) -> str:
    return "".join(CHARACTERS[number] for number in row)


@pytest.mark.parametrize(
    ("name", "read"),
    [("Ślusarski", "slusarski"), ("O'Neal", "o'neal"), ("Béringer", "beringer"), ("X7", "x"), ("a" * 30, "a" * LENGTH)],
)
def test_names_are_spelled_in_one_alphabet(name: str, read: str) -> None:
    assert spelled(encode([name])[0]) == read.ljust(LENGTH, "\0")


def test_no_name_is_in_both_parts() -> None:
    pairs = [(f"name{chr(97 + n % 26)}{chr(97 + n // 26)}", n % 3) for n in range(100)]
    training, held_out = divided([*pairs, *((name, 3) for name, _ in pairs)])
    assert len(training.labels) + len(held_out.labels) == 200
    assert len(held_out.labels) == 40
    assert not {*map(spelled, training.inputs)} & {*map(spelled, held_out.inputs)}


def test_the_last_character_is_found_in_the_graph() -> None:
    rows = torch.from_numpy(encode(["ab", "a", "a" * LENGTH]))
    assert last_of(rows).argmax(1).flatten().tolist() == [1, 0, LENGTH - 1]
    assert last_of(rows).sum().item() == 3


def test_boxes_of_an_annotation() -> None:
    found = list(_cells_data.boxes((ANNOTATION + "</annotation>").encode()))
    assert found[0] == (1, (1, 2, 41, 52))
    assert [kind for kind, _ in found] == [1, 0, 0, 0, 0, 0], "the box that encloses nothing is left out"


def test_crops_of_a_photo(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / folder).mkdir()
    image.new("RGB", (64, 64), (200, 0, 0)).save(tmp_path / "JPEGImages" / "one.jpg", quality=95)
    (tmp_path / "Annotations" / "one.xml").write_text(ANNOTATION + "</annotation>")
    cells = list(_cells_data.cells(tmp_path, "one"))
    assert [kind for _, kind in cells] == [1, 0, 0, 0], "three red cells of each photo"
    assert all(crop.shape == (32, 32, 3) and crop.dtype == np.uint8 for crop, _ in cells)
    assert cells[0][0].mean((0, 1)) == pytest.approx([200, 0, 0], abs=4)


def test_the_stand_in_has_the_form_of_mnist() -> None:
    training, held_out = _mnist_data._stand_in()
    assert training.inputs.shape[1:] == held_out.inputs.shape[1:] == (1, 28, 28)
    assert training.inputs.dtype == np.float32
    assert training.inputs[:, :, :2].max() == 0.0 < training.inputs.max() <= 1.0


def test_a_tone_is_loudest_in_its_band() -> None:
    seconds = np.arange(8000) / 8000
    centres = triangles().argmax(0) * 8000 / 256
    for hertz in (500, 1000, 3000):
        spectrum = log_mel(np.sin(2 * np.pi * hertz * seconds).astype(np.float32))
        assert spectrum.shape == (61, BANDS)
        assert centres[spectrum.mean(0).argmax()] == pytest.approx(hertz, rel=0.1)


@pytest.mark.parametrize(("samples", "frames"), [(0, 1), (256, 1), (383, 1), (384, 2), (8000, 61)])
def test_frames_of_a_signal(samples: int, frames: int) -> None:
    spectrum = log_mel(np.zeros(samples, np.float32))
    assert spectrum.shape == (frames, BANDS)
    assert spectrum.dtype == np.float32
    assert np.isfinite(spectrum).all()


@pytest.mark.parametrize("samples", [0, 1, 7999, 8000, 8001, 20000])
def test_a_word_in_the_middle_of_a_second(samples: int) -> None:
    signal = keywords.second(np.ones(samples, np.float32))
    assert len(signal) == 8000
    assert signal.sum() == min(samples, 8000)
    assert abs(signal[:4000].sum() - signal[4000:].sum()) <= 1


def wav(path: Path, rate: int = 8000, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.array([0, 16384, -32768, 32767], "<i2").tobytes())
    return path


def test_a_recording_and_its_name(tmp_path: Path) -> None:
    found = recording(wav(tmp_path / "7_theo_12.wav"))
    assert (found.digit, found.speaker, found.take) == (7, "theo", 12)
    assert found.signal.tolist() == pytest.approx([0, 0.5, -1, 1], abs=1e-4)


def test_recordings_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(InvalidArtifact, match=r"\(2, 2, 44100\): expected \(1, 2, 8000\)"):
        recording(wav(tmp_path / "7_theo_12.wav", 44100, 2))
    (tmp_path / "1_ann_1.wav").write_bytes(b"RIFF")
    with pytest.raises(InvalidArtifact, match=r"1_ann_1\.wav is not a WAV file"):
        recording(tmp_path / "1_ann_1.wav")


def test_sequences_are_of_one_speaker_and_repeat_with_their_seed() -> None:
    words = [
        Recording(d, s, 0, np.full(3000, v, np.float32)) for d in range(10) for s, v in (("ann", 0.1), ("bob", 0.2))
    ]
    made, again, other = (speech_ctc.sequences(words, 30, seed) for seed in (0, 0, 1))
    assert made.spectra.shape == (30, speech_ctc.STEPS, 64)
    assert set(made.lengths.tolist()) == {1, 2, 3, 4}
    assert np.array_equal((made.labels != 0).sum(1), made.lengths)
    assert np.array_equal(made.spectra, again.spectra)
    assert not np.array_equal(made.labels, other.labels)


def test_a_word_that_is_too_long_is_cut() -> None:
    words = [Recording(3, "ann", 0, np.ones(90000, np.float32))]
    assert speech_ctc.sequences(words, 2, 0).labels.tolist() == [[4, 0, 0, 0]] * 2


@pytest.mark.parametrize(
    ("best", "labels"),
    [([0, 0, 0], []), ([1, 1, 0, 1], [1, 1]), ([0, 3, 3, 2, 2, 0], [3, 2]), ([5], [5]), ([4, 4, 4], [4])],
)
def test_greedy_decoding(best: list[int], labels: list[int]) -> None:
    assert greedy(np.eye(6, dtype=np.float32)[best]) == labels


def test_names_need_all_their_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidArtifact, match=r"Arabic\.txt cannot be read"):
        _names_data.read(tmp_path / "Arabic.txt")
