"""Foreign teachers opened: their format found, their config read, their weights put into our model."""

from __future__ import annotations

from pathlib import Path

import torch

from koopstep.core.config import Config
from koopstep.core.errors import UsageError
from koopstep.core.files import read_json, read_limited
from koopstep.core.fit import network_to_fill
from koopstep.core.yaml_reader import LARGEST_TEXT, parse_yaml
from koopstep.teachers.base import Teacher
from koopstep.teachers.diffusers.config import DiffusersConfig
from koopstep.teachers.diffusers.teacher import timesteps_of
from koopstep.teachers.files import in_memory
from koopstep.teachers.foreign.base import ForeignTeacher
from koopstep.teachers.foreign.table import FOREIGN, sniff
from koopstep.teachers.table import TEACHERS, TeacherConfig


class Described(Config):
    """A teacher's config in a file of its own."""

    config: TeacherConfig


def read_foreign(source: Path, config: Path | None = None) -> tuple[str, ForeignTeacher]:
    """The format of a foreign teacher, and the teacher; nothing in it is executed.

    Args:
        source: a file or folder of another program.
        config: of a state dict, where it does not lie beside it.

    Raises:
        UsageError: an unknown format or content, a missing config or one too many.
        DamagedError: it is broken or holds what it should not.
    """
    name = sniff(source)
    described = read_config(source, config) if FOREIGN[name].wants_config or config is not None else None
    if described is not None and not FOREIGN[name].wants_config:
        raise UsageError(f"{source} ({name}) says itself what it is; leave --config away")
    return name, FOREIGN[name].read(source, described)


def open_foreign(source: Path, config: Path | None = None, device: torch.device | None = None) -> Teacher:
    """A foreign checkpoint as a teacher, without a file of ours between; see :func:`read_foreign`."""
    _, found = read_foreign(source, config)
    if isinstance(found.config, DiffusersConfig):
        timesteps_of(found.config).warn()
    model = network_to_fill(lambda: TEACHERS[found.config.kind].build(found.config))
    model.load_state_dict(dict(found.tensors))  # every reader has checked that they fit
    model.eval().requires_grad_(False).to(device or torch.device("cpu"))
    return in_memory(found.config, model, source.stem, source)


def read_config(source: Path, config: Path | None) -> TeacherConfig | None:
    """The teacher's config that was named, or the one that lies beside the source; None without either."""
    found = [config] if config is not None else [path for path in beside(source) if path.is_file()]
    if not found:
        return None
    path = found[0]
    if path.suffix == ".json":
        plain = read_json(path)
    else:
        try:
            plain = parse_yaml(read_limited(path, LARGEST_TEXT).decode(), str(path))
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is no text") from error
    return Described.parse({"config": plain}, str(path)).config


def beside(source: Path) -> list[Path]:
    """Where a config would lie that is not named."""
    return [path for suffix in (".yaml", ".yml", ".json") if (path := source.with_suffix(suffix)) != source]
