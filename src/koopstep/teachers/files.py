"""A teacher on disk: one safetensors file, its configuration and where it came from in the header."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from koopstep.core.config import Added, Config, dump
from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.files import sha256_bytes, sha256_file
from koopstep.core.fit import check_fit, empty_network, network_to_fill
from koopstep.core.tensors import (
    fill_weights,
    is_tensor_file,
    load_tensors,
    read_metadata,
    save_tensors,
    tensors_sha256,
)
from koopstep.teachers.base import Teacher, TrainingData
from koopstep.teachers.packaged import packaged_sha256, packaged_teachers
from koopstep.teachers.table import TEACHERS, TeacherConfig

# `teacher train` of version 0.1 named the data in words only: "...; data NAME DIGEST; torch VERSION"
_DATA_IN_WORDS = re.compile(r"; data (.+) ([0-9a-f]{16}); torch [^;]*$")


class TeacherHeader(Config):
    """What the file says of itself.

    ``training_data`` is what the teacher learned from, where that is known; ``source`` of a converted one names the foreign
    file, its format and SHA-256; ``tensors_sha256`` is the digest of the file's tensors (empty in files of version 0.1).
    """

    format: Literal[1] = 1
    config: TeacherConfig
    name: str
    made_by: str = ""
    weights_dtype: str = "float32"
    source: dict[str, str] = Field(default_factory=dict)
    training_data: Annotated[TrainingData | None, Added()] = None
    tensors_sha256: Annotated[str, Added()] = ""

    def learned_from(self) -> TrainingData | None:
        """``training_data``; of files of version 0.1, what ``made_by`` says of it."""
        found = _DATA_IN_WORDS.search(self.made_by)
        if self.training_data is not None or found is None:
            return self.training_data
        return TrainingData(name=found[1], sha256=found[2], shape=tuple(self.config.shape))


@dataclass(frozen=True)
class TeacherFile:
    """A teacher read from disk: the header, the model, and the same model as a teacher."""

    header: TeacherHeader
    model: nn.Module
    teacher: Teacher
    sha256: str
    path: Path

    @property
    def parameters(self) -> int:
        """Number of trained numbers."""
        return sum(p.numel() for p in self.model.parameters())


def save_teacher(path: Path, header: TeacherHeader, model: nn.Module) -> str:
    """Write ``model`` to ``path`` in the header's ``weights_dtype``, with the tensors' digest; returns the file's SHA-256."""
    tensors = _stored(model, header.weights_dtype)
    header = header.model_copy(update={"tensors_sha256": tensors_sha256(tensors)})
    text = json.dumps(dump(header), sort_keys=True)
    return save_tensors(path, tensors, {"koopstep_teacher": text})


def _stored(model: nn.Module, weights_dtype: str) -> dict[str, Tensor]:
    dtype = {"float32": torch.float32, "float16": torch.float16, "float64": torch.float64}[weights_dtype]
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in model.state_dict().items()}


def content_sha256(config: TeacherConfig, tensors: str) -> str:
    """The digest of a teacher as settings and weights, whatever file they are in; ``tensors`` is that of its tensors."""
    return sha256_bytes(json.dumps([dump(config), tensors], sort_keys=True).encode())


def in_memory(config: TeacherConfig, model: nn.Module, name: str, source: Path) -> Teacher:
    """A network that was read from ``source``, a file of another program, as the teacher that its conversion is."""
    digest = content_sha256(config, tensors_sha256(_stored(model, "float32")))
    return _teacher(config, model, name, digest, source)


def is_same_teacher(path: Path, sha256: str) -> bool:
    """Whether the teacher file ``path`` has this digest, or is the conversion of a network that was read in memory and has it.

    Raises:
        UsageError: it cannot be read.
    """
    if sha256_file(path) == sha256:
        return True
    try:
        header = read_header(path)
    except (DamagedError, UsageError):
        return False
    return bool(header.tensors_sha256) and content_sha256(header.config, header.tensors_sha256) == sha256


def goes_by(teacher: Teacher, sha256: str) -> bool:
    """Whether ``teacher`` is the one of this digest (not empty): by its own, or because :func:`is_same_teacher` of its file."""
    file = teacher.source if teacher.source is not None and teacher.source.is_file() else None
    return teacher.sha256 == sha256 or (file is not None and is_same_teacher(file, sha256))


def _teacher(config: TeacherConfig, model: nn.Module, name: str, sha256: str, source: Path) -> Teacher:
    teacher = TEACHERS[config.kind].teacher(config, model, name, sha256)
    teacher.source, teacher.config, teacher.model = source, config, model
    return teacher


def find_teacher(name_or_path: str) -> Path:
    """Resolve the name of a packaged teacher or the path of a teacher file.

    Raises:
        UsageError: if there is neither.
    """
    packaged = packaged_teachers()
    if name_or_path in packaged:
        return packaged[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        close = difflib.get_close_matches(name_or_path, packaged, n=1)
        raise UsageError(
            f"no teacher {name_or_path!r}: neither a file nor one of the packaged teachers ({', '.join(packaged)}); "
            + (f"did you mean {close[0]!r}? " if close else "")
            + "make it with `koopstep teacher train PRESET --out FILE`, or of published weights with "
            "`koopstep teacher convert`"
        )
    return path


def read_header(path: Path) -> TeacherHeader:
    """What a teacher file says of itself; its weights are neither read nor checked.

    Raises:
        UsageError: if there is no such file, or it is not a koopstep teacher.
        DamagedError: if the header is damaged.
    """
    return _header(read_metadata(path), path)


def header_of(path: Path) -> TeacherHeader | None:
    """:func:`read_header` of a teacher file of ours; None of any other file."""
    with path.open("rb") as stream:
        ours = is_tensor_file(stream.read(16)) and "koopstep_teacher" in read_metadata(path)
    return read_header(path) if ours else None


def _header(metadata: Mapping[str, str], path: Path) -> TeacherHeader:
    if "koopstep_teacher" not in metadata:
        raise UsageError(f"{path} holds tensors but is no koopstep teacher (its header has no 'koopstep_teacher')")
    try:
        raw = json.loads(metadata["koopstep_teacher"])
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path}: the teacher's header is not JSON ({error})") from error
    return TeacherHeader.parse(raw, f"header of {path}")


def read_teacher_file(name_or_path: str | Path, device: torch.device | None = None) -> TeacherFile:
    """Read a teacher; nothing in the file is executed.

    Raises:
        UsageError: if there is no such file, or it is not a koopstep teacher.
        DamagedError: if the file or its weights are damaged.
    """
    path = find_teacher(str(name_or_path))
    tensors, metadata = load_tensors(path, packaged_sha256(path))
    header = _header(metadata, path)
    if header.tensors_sha256 and header.tensors_sha256 != tensors_sha256(tensors):
        raise DamagedError(f"{path} is damaged: its tensors are not those that were written")
    kind = TEACHERS[header.config.kind]
    check_fit(empty_network(lambda: kind.build(header.config), len(tensors), str(path)), tensors, str(path))
    model = network_to_fill(lambda: kind.build(header.config))
    fill_weights(model, tensors, str(path))
    model.eval().requires_grad_(False).to(device or torch.device("cpu"))
    digest = sha256_file(path)
    teacher = _teacher(header.config, model, header.name, digest, path)
    teacher.training_data = header.learned_from()
    return TeacherFile(header, model, teacher, digest, path)
