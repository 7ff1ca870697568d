"""An artifact group: model files of one format and one scheme that work together, and the loop that runs them.

translation.onnx.group/            the group, one folder
    manifest.json                  what it is, its members, the loop, the vocabularies, what was proven of the whole
    golden.safetensors             inputs and the sequences that the whole loop makes of them
    encoder.onnx  decoder.onnx     the members, each with a manifest and golden vectors of its own
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgedl.spec import State
from edgedl.util.file_name import checked_file_name

SUFFIX = ".group"
KIND = "encoder-decoder"
"""The one kind of loop that there is: an encoder, run once, and a decoder, run once for each token."""

TOKENS = "tokens"
"""The output of every group: int64 [batch, length], filled up with the token that ends a sequence."""


@dataclass(frozen=True)
class DecodeLoop:
    """How an encoder and a decoder step write a sequence. The batch is axis 0 of every input and output of both.

    token: the decoder's input that is the token chosen last, int64 [batch]; `begin` at the first step.
    logits: the decoder's output, float [batch, vocabulary], by which the next token is chosen.
    feeds: decoder input -> the encoder's output or input that it is: at every step, for a state at the first one.
    zeros: state -> its shape without the batch axis, where it is float32 zeros at the first step.
    states: what the decoder carries from step to step. end: the token that ends a sequence, and is no part of it.
    length: tokens of a sequence at most. beam: hypotheses that are kept at each step; 1 is greedy.
    """

    begin: int
    end: int
    length: int
    feeds: Mapping[str, str]
    states: tuple[State, ...] = ()
    zeros: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    token: str = "token"
    logits: str = "logits"
    beam: int = 1
    kind: str = KIND

    def flaw(
        self, encoder: tuple[Collection[str], Collection[str]], decoder: tuple[Collection[str], Collection[str]]
    ) -> str | None:
        """What is wrong with the loop for members of these (inputs, outputs), as one clause; None where nothing is."""
        states = [state.input for state in self.states]
        given = [self.token, *self.feeds, *self.zeros]
        return (
            _first("the decoder has no input", [*given, *states], decoder[0])
            or _first("the decoder has no output", [self.logits, *(state.output for state in self.states)], decoder[1])
            or _first("the encoder has no input and no output", self.feeds.values(), {*encoder[0], *encoder[1]})
            or _first("nothing feeds the decoder's input", decoder[0], given)
            or _first("no state is", self.zeros, states)
            or next((f"the decoder's input {name!r} is fed twice" for name in given if given.count(name) > 1), None)
            or self._out_of_range()
        )

    def _out_of_range(self) -> str | None:
        if self.length < 1 or self.beam < 1:
            return f"length {self.length} and beam {self.beam} are to be 1 or more"
        return None if self.begin >= 0 <= self.end else f"begin {self.begin} and end {self.end} are to be 0 or more"


def _first(complaint: str, wanted: Iterable[str], there: Collection[str]) -> str | None:
    return next((f"{complaint} {name!r} ({', '.join(there)})" for name in wanted if name not in there), None)


@dataclass(frozen=True)
class MemberFile:
    """file: its name in the folder of the group. sha256: of its bytes."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Group:
    """members: `encoder` and `decoder`. vocabularies: input name, or `tokens`, -> the word of each of its numbers."""

    members: Mapping[str, MemberFile]
    loop: DecodeLoop
    vocabularies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Of the lines `sha256  file` of the members, by name: what `sha256sum` prints."""
        lines = (f"{member.sha256}  {member.file}\n" for _, member in sorted(self.members.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def parse(data: Mapping[str, Any]) -> Group:
    """From what `dataclasses.asdict` made of a group, after a trip through JSON; ValueError, KeyError or TypeError."""
    members = {
        str(name): MemberFile(checked_file_name(item["file"]), str(item["sha256"]))
        for name, item in data["members"].items()
    }
    if members.keys() != {"encoder", "decoder"}:
        raise ValueError(f"the members are {', '.join(members) or 'none'}, expected encoder and decoder")
    words = {str(name): tuple(map(str, listed)) for name, listed in data.get("vocabularies", {}).items()}
    return Group(members, _loop(data["loop"]), words)


def _loop(data: Mapping[str, Any]) -> DecodeLoop:
    if data["kind"] != KIND:
        raise ValueError(f"the loop is a {data['kind']!r}, expected {KIND!r}")
    if odd := [name for name in ("begin", "end", "length", "beam") if type(data[name]) is not int]:
        raise ValueError(f"{odd[0]!r} is {data[odd[0]]!r}")
    feeds = {str(name): str(source) for name, source in data["feeds"].items()}
    states = tuple(State(str(item["input"]), str(item["output"])) for item in data["states"])
    zeros = {str(name): tuple(map(int, shape)) for name, shape in data["zeros"].items()}
    whole = data["begin"], data["end"], data["length"]
    return DecodeLoop(*whole, feeds, states, zeros, str(data["token"]), str(data["logits"]), data["beam"])
