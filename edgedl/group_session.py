"""An encoder-decoder in one engine: its members and the decode loop behind edgedl's Session."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from edgedl.artifact import Artifact
from edgedl.batching import batched
from edgedl.decoding import cut, decode, spelled
from edgedl.errors import InvalidArtifact, InvalidTensor
from edgedl.group import TOKENS, DecodeLoop
from edgedl.runtime import NO_OPTIONS, Options, Session, accept, load
from edgedl.spec import Array, Feeds, TensorSpec
from edgedl.task import Predict


def load_group(
    path: str | Path | Artifact,
    runtime: str = "auto",
    device: str = "cpu",
    threads: int | None = None,
    options: Options = NO_OPTIONS,
) -> GroupSession:
    """A session for an artifact group; numpy and one engine. InvalidArtifact for anything else. The rest as in edgedl.load."""
    artifact = path if isinstance(path, Artifact) else Artifact.open(path)
    if not artifact.group:
        raise InvalidArtifact(f"{artifact.path} is one model file: load it with edgedl.load")
    load_member = partial(load, runtime=runtime, device=device, threads=threads, options=options, unproven=True)
    members = {name: load_member(member) for name, member in artifact.members().items()}
    return GroupSession(artifact.group.loop, artifact.group.vocabularies, members["encoder"], members["decoder"])


class GroupSession(Session):
    """The loop over two sessions. As any session it takes the encoder's inputs by name; it gives `tokens`.

    tokens: int64 [batch, length], each sequence filled up with the token that ends it; from the loop's own beam.
    """

    def __init__(
        self, loop: DecodeLoop, vocabularies: Mapping[str, tuple[str, ...]], encoder: Session, decoder: Session
    ) -> None:
        self.loop, self.vocabularies, self.members = loop, vocabularies, (encoder, decoder)
        if flaw := loop.flaw(_names(encoder), _names(decoder)):
            raise InvalidArtifact(f"the loop does not fit its members: {flaw}; export the task again")
        batch = encoder.inputs[0].shape[0] if encoder.inputs[0].shape else 1
        tokens = TensorSpec(TOKENS, (batch, loop.length), "int64")
        super().__init__(encoder.inputs, (tokens,), encoder.engine, encoder.device)
        self._encode, self._step = _any_rows(encoder), _any_rows(decoder)

    def decode(self, feeds: Feeds, beam: int | None = None) -> list[tuple[int, ...]]:
        """The sequence of each row, without the tokens that begin and end it. beam: hypotheses kept, the loop's own where None."""
        if beam is not None and beam < 1:
            raise InvalidTensor(f"beam={beam}: expected 1 or more")
        return cut(decode(self._encode, self._step, self.loop, feeds, beam), self.loop.end)

    def text(self, tokens: tuple[int, ...]) -> str:
        """The words of a sequence. InvalidTensor where the group has no vocabulary, or the sequence a number outside it."""
        return spelled(tokens, self.vocabularies.get(TOKENS, ()))

    def _invoke(self, feeds: Feeds) -> dict[str, Array]:
        return {TOKENS: decode(self._encode, self._step, self.loop, feeds)}

    def close(self) -> None:
        for member in self.members:
            member.close()


def _names(session: Session) -> tuple[list[str], list[str]]:
    return [spec.name for spec in session.inputs], [spec.name for spec in session.outputs]


def _any_rows(session: Session) -> Predict:
    """The session for any number of rows; tokens in the dtype that it takes, before the engine would refuse them."""
    return batched(lambda feeds: session.run(accept(feeds, session.inputs)), session.inputs)
