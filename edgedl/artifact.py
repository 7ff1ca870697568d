"""An artifact: a model file, its manifest and its golden vectors, side by side.

digits.w8a8.onnx                      the model, one self-contained file
digits.w8a8.onnx.manifest.json        what it is, where it comes from, what was proven
digits.w8a8.onnx.golden.safetensors   inputs and expected outputs: any device can test itself

An encoder-decoder is a folder of several model files, see edgedl.group; it has a manifest and golden vectors as a file has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgedl import group, strict_json, tensorfile
from edgedl.errors import InvalidArtifact, UnknownName, Unsupported
from edgedl.files import sha256
from edgedl.group import Group, MemberFile
from edgedl.spec import DTYPES, Array, Quantization, State, TensorSpec
from edgedl.util.file_name import checked_file_name

SCHEMA_VERSION = 1
FORMATS = {".onnx": "onnx", ".tflite": "tflite", ".ncnn": "ncnn"}
"""file suffix -> format"""


@dataclass(frozen=True)
class Manifest:
    """What is known of a model file. `evidence` is what verification measured; see edgedl.verify.Evidence.

    states: of a step model, in the order of its inputs. proven: axis name -> the shortest and longest length of the proof.
    group: of an artifact group; size and sha256 are then of all members.
    """

    name: str
    format: str
    scheme: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    size: int
    sha256: str
    opset: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    states: tuple[State, ...] = ()
    group: Group | None = None
    proven: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        return strict_json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str) -> Manifest:
        """InvalidArtifact, naming `source`, if the text is not a manifest of this schema version."""
        try:
            data = json.loads(text)
            if data["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema version {data['schema_version']!r}, expected {SCHEMA_VERSION}")
            if odd := [key for key, kind in _KINDS.items() if not isinstance(data.get(key), kind)]:
                raise ValueError(f"{odd[0]!r} is {data.get(odd[0])!r}")
            checked_file_name(data["name"])
            inputs, outputs = (tuple(map(_spec, data.pop(side))) for side in ("inputs", "outputs"))
            states = tuple(State(str(item["input"]), str(item["output"])) for item in data.pop("states", ()))
            members = data.pop("group", None)
            parsed = group.parse(members) if members is not None else None
            proven = _proven(data.pop("proven", {}))
            return cls(inputs=inputs, outputs=outputs, states=states, group=parsed, proven=proven, **data)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidArtifact(f"{source} is not an edgedl manifest: {error}; export the model again") from error


_KINDS: dict[str, type | tuple[type, ...]] = {
    "name": str, "format": str, "scheme": str, "inputs": list, "outputs": list, "size": int, "sha256": str,
    "provenance": dict, "evidence": dict, "opset": (int, type(None)),
}  # fmt: skip


def _proven(lengths: dict[str, Any]) -> dict[str, tuple[int, int]]:
    for name, bounds in lengths.items():
        if not isinstance(bounds, list) or len(bounds) != 2 or not all(isinstance(n, int) for n in bounds):
            raise ValueError(f"the proven lengths of {name!r} are {bounds!r}")
    return {name: (low, high) for name, (low, high) in lengths.items()}


def _spec(item: dict[str, Any]) -> TensorSpec:
    quantization = Quantization(**item["quantization"]) if item.get("quantization") else None
    name, shape, dtype = item["name"], item["shape"], item["dtype"]
    if not isinstance(name, str) or not isinstance(shape, list) or dtype not in DTYPES:
        raise ValueError(f"{item} is no tensor")
    if not all(isinstance(length, int | str) for length in shape):
        raise ValueError(f"{name!r} has the shape {shape}")
    return TensorSpec(name, tuple(shape), dtype, quantization)


def manifest_path(path: Path) -> Path:
    return path / "manifest.json" if is_group(path) else path.with_name(path.name + ".manifest.json")


def golden_path(path: Path) -> Path:
    return path / "golden.safetensors" if is_group(path) else path.with_name(path.name + ".golden.safetensors")


def is_group(path: Path) -> bool:
    """Whether the name is that of an artifact group: `translation.onnx.group`."""
    return path.suffix == group.SUFFIX


def is_model(path: Path) -> bool:
    """Whether the name is that of a model file or of an artifact group."""
    return (path.with_suffix("") if is_group(path) else path).suffix in FORMATS


def format_of(path: Path) -> str:
    """The format that the suffix names; UnknownName if none is known."""
    if not is_model(path):
        raise UnknownName("model file type", path.suffix or path.name, FORMATS)
    return FORMATS[(path.with_suffix("") if is_group(path) else path).suffix]


@dataclass(frozen=True)
class Artifact:
    """A model file and, where edgedl wrote it, its manifest; or the folder of an artifact group, which always has one."""

    path: Path
    manifest: Manifest | None = None

    @property
    def format(self) -> str:
        return format_of(self.path)

    @property
    def group(self) -> Group | None:
        return self.manifest.group if self.manifest else None

    @property
    def size(self) -> int:
        """Bytes of the model file, or of all members."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def sha256(self) -> str:
        """Of the bytes that are there."""
        return self.group.sha256 if self.group else sha256(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        """The model file, or those of all members."""
        return tuple(member.path for member in self.members().values()) or (self.path,)

    @property
    def model_file(self) -> Path:
        """The one model file; Unsupported for a group, whose members are to be given one by one."""
        if self.group:
            members = " and ".join(str(self.path / member.file) for _, member in sorted(self.group.members.items()))
            raise Unsupported(f"{self.path} is a group, and this works on one model file: give {members}, one by one")
        return self.path

    def members(self) -> dict[str, Artifact]:
        """Name -> artifact of a group; none of a model file. InvalidArtifact for one that is not what the group's manifest says."""
        return {name: self._member(member) for name, member in (self.group.members if self.group else {}).items()}

    def _member(self, member: MemberFile) -> Artifact:
        opened = Artifact.open(self.path / member.file)
        if opened.sha256 != member.sha256:
            raise InvalidArtifact(f"{opened.path} is not the file that its group was proven with: export it again")
        return opened

    @classmethod
    def open(cls, path: str | Path) -> Artifact:
        """The artifact at `path`; InvalidArtifact if it is missing, empty, or not the file that its manifest describes."""
        path = Path(path)
        format_of(path)
        if is_group(path):
            return cls._opened_group(path)
        if not path.is_file():
            raise InvalidArtifact(f"no such model file: {path}{_nearest(path)}")
        if not path.stat().st_size:
            raise InvalidArtifact(f"{path} is empty: export the model again")
        beside = manifest_path(path)
        if not beside.is_file():
            return cls(path)
        manifest = Manifest.from_json(beside.read_text(errors="replace"), str(beside))
        if sha256(path) != manifest.sha256:
            raise InvalidArtifact(
                f"{path} is not the file that {beside.name} describes (sha256 differs): export it again"
            )
        return cls(path, manifest)

    @classmethod
    def _opened_group(cls, path: Path) -> Artifact:
        beside = manifest_path(path)
        if not beside.is_file():
            there = (
                f"{path} holds no {beside.name}" if path.is_dir() else f"no such artifact group: {path}{_nearest(path)}"
            )
            raise InvalidArtifact(f"{there}: export the task again")
        manifest = Manifest.from_json(beside.read_text(errors="replace"), str(beside))
        if not manifest.group or manifest.group.sha256 != manifest.sha256:
            raise InvalidArtifact(f"{beside} does not describe an artifact group: export the task again")
        opened = cls(path, manifest)
        opened.members()
        return opened

    def golden(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """(inputs, expected outputs) by name; the expected outputs are this artifact's own on the machine that proved it."""
        path = golden_path(self.path)
        if not path.is_file():
            raise InvalidArtifact(f"{self.path} has no golden vectors beside it ({path.name}): export the model again")
        tensors, _ = tensorfile.decode(path.read_bytes(), str(path))
        split = {
            side: {n.partition("/")[2]: t for n, t in tensors.items() if n.startswith(f"{side}/")}
            for side in ("input", "output")
        }
        return split["input"], split["output"]


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (no folder {path.parent})"
    there = sorted(p.name for p in path.parent.iterdir() if is_model(p))
    return (
        f"; {path.parent} holds {', '.join(there)}"
        if there
        else f"; make one with: edgedl export TASK -o {path.parent}"
    )
