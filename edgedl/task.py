"""What a user brings: a model and, the more of the rest there is, the more edgedl can prove."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgedl.errors import InvalidReference
from edgedl.group import DecodeLoop
from edgedl.spec import Array, Axis, Feeds
from edgedl.util.file_name import checked_file_name

if TYPE_CHECKING:
    import torch

Predict = Callable[[Feeds], dict[str, Array]]
"""Outputs by name, from arrays by input name: a torch module or an artifact in an engine, the caller cannot tell."""

Progress = Callable[[int, int], None]
"""(steps done, steps in all)"""


@dataclass(frozen=True)
class Score:
    """One figure of merit over the held-out data.

    samples: one value per example, in a fixed order, whose mean is `value`; they give the drop its confidence interval.
    """

    name: str
    value: float
    higher_is_better: bool = True
    samples: tuple[float, ...] = ()


@dataclass(frozen=True)
class Part:
    """A part of a task's module that becomes a file of its own.

    module: the part, of the whole module. outputs: their names. inputs, dynamic_axes: of the decoder, by the names and in the
    order of its `forward`, as in Task; the encoder's are the task's.
    """

    module: Callable[[torch.nn.Module], torch.nn.Module]
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    dynamic_axes: Mapping[str, Mapping[int, str | Axis]] = field(default_factory=dict)


@dataclass(frozen=True)
class EncoderDecoder:
    """A module that is run in two parts: the encoder once, one step of the decoder for each token of the result.

    vocabularies: input name, or `tokens` for the result, -> the word of each number; for the device.
    """

    encoder: Part
    decoder: Part
    loop: DecodeLoop
    vocabularies: Callable[[], Mapping[str, Sequence[str]]] = dict


@dataclass(frozen=True)
class Processing:
    """What a device does before and after a run, to be timed with it.

    raw: real raw inputs, such as waveforms or photos. before: one of them -> the arrays of a run by input name.
    after: the outputs of a run by name -> whatever the application takes.
    """

    raw: Callable[[], Iterable[Any]]
    before: Callable[[Any], Feeds]
    after: Callable[[Mapping[str, Array]], Any]


@dataclass(frozen=True)
class Task:
    """A frozen bundle of callables. `model` and `example_inputs` are enough to export.

    model: makes the module; untrained unless it loads weights itself.
    example_inputs: arrays by input name, in the order of `forward`; the names are those of the artifacts.
    dynamic_axes: input name -> axis number -> its name, or an Axis with the lengths to be proven.
    signatures: the lengths of all dynamic axes by name, where the artifact takes only these and not any length.
    outputs: names of the outputs; by default the keys of a returned dictionary, else `output` or `output_0`, `output_1`...
    calibration: real inputs for ranges and for parity, as many as there are; a batch each.
    evaluate: the score of a predict function on held-out data.
    synthetic: the example inputs are seeded noise.
    fit: trains the module in place, `(module, seed, progress)`, and returns it; an edgedl.Loop can be interrupted and resumed.
    processing: what goes before and after a run, for `edgedl benchmark --end-to-end`.
    decoding: of an encoder-decoder. Its only output is then `tokens`, int64 [batch, length], for `evaluate` as well.
    """

    name: str
    model: Callable[[], torch.nn.Module]
    example_inputs: Callable[[], Mapping[str, Array]]
    dynamic_axes: Mapping[str, Mapping[int, str | Axis]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    calibration: Callable[[], Iterable[Feeds]] | None = None
    evaluate: Callable[[Predict], Score] | None = None
    fit: Callable[[torch.nn.Module, int, Progress], torch.nn.Module] | None = None
    description: str = ""
    licence: str = ""
    synthetic: bool = False
    signatures: tuple[Mapping[str, int], ...] = ()
    decoding: EncoderDecoder | None = None
    processing: Processing | None = None

    def __post_init__(self) -> None:
        try:
            checked_file_name(self.name)
        except ValueError as error:
            raise InvalidReference(f"the name of the task names its files, and {error}") from error
