"""A student on disk: ``config.json``, ``model.safetensors``, ``README.md``; data only, nothing is executed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import torch

from koopstep.core.arguments import AnyPath
from koopstep.core.config import Config, dump
from koopstep.core.errors import UsageError
from koopstep.core.files import read_json, write_atomic, write_json
from koopstep.core.fit import check_fit, empty_network, network_to_fill
from koopstep.core.registry import check_in_use, in_use
from koopstep.core.tensors import fill_weights, load_tensors, save_tensors
from koopstep.students.student import DataFacts, KoopmanStudent
from koopstep.students.table import StudentConfig, build_student

_REGISTERED = (
    "registered"  # of the provenance: which of its operators and networks are the user's, and whose code has them
)


class StudentFile(Config):
    """``config.json`` of a student folder.

    Attributes:
        format: of this file.
        student: how it is built.
        facts: of the data it was made for.
        sha256: of ``model.safetensors``.
        provenance: names and digests of what it was made from, as plain text.
    """

    format: Literal[1] = 1
    student: StudentConfig
    facts: DataFacts
    sha256: str
    provenance: dict[str, str]


def save_student(
    folder: Path, config: StudentConfig, student: KoopmanStudent, provenance: dict[str, str], card: str
) -> None:
    """Write ``student`` into ``folder`` (made if absent); ``config.json`` comes last and vouches for the rest."""
    digest = save_tensors(folder / "model.safetensors", student.state_dict())
    write_atomic(folder / "README.md", card.encode())
    own = in_use(dump(config))
    if own:
        provenance = provenance | {_REGISTERED: ", ".join(own)}
    described = StudentFile(student=config, facts=student.facts, sha256=digest, provenance=provenance)
    write_json(folder / "config.json", dump(described))


def student_folder(folder: Path) -> Path:
    """The student's own folder: ``folder``, or ``student`` within a run.

    Raises:
        UsageError: if there is no student in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give a run folder or a student folder")
    for place in (folder, folder / "student"):
        if (place / "config.json").is_file():
            return place
    if (folder / "config.yaml").is_file():
        raise UsageError(f"{folder} is not trained to its end yet; go on with `koopstep train {folder} --resume`")
    raise UsageError(
        f"{folder} is neither a run nor a student folder (no config.yaml or config.json in it){run_within(folder)}"
    )


def run_within(folder: Path) -> str:
    """Which run in ``folder`` is meant, where there is one: the end of a message."""
    within = sorted(path.parent for path in folder.glob("*/config.yaml"))
    return f"; did you mean {within[0]}?" if within else ""


def read_student_file(folder: Path) -> StudentFile:
    """Read and check ``config.json``.

    Raises:
        UsageError: if the folder is no student folder, or its operator or networks are not registered.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UsageError(f"{folder} is neither a run nor a student folder (no config.json in it)")
    plain = read_json(path)
    provenance = plain.get("provenance") if isinstance(plain, dict) else None
    own = provenance.get(_REGISTERED) if isinstance(provenance, dict) else None
    check_in_use(own.split(", ") if isinstance(own, str) else [], str(folder))
    return StudentFile.parse(plain, str(path))


def load_student(folder: AnyPath, device: torch.device | None = None) -> tuple[KoopmanStudent, StudentFile]:
    """Read the student of a run or a student folder, ready to sample (eval mode, no gradients).

    Raises:
        UsageError: if there is no student in the folder.
        DamagedError: if a file is damaged or does not fit.
    """
    folder = student_folder(Path(folder))
    described = read_student_file(folder)
    tensors, _ = load_tensors(folder / "model.safetensors", described.sha256)
    where = str(folder / "config.json")
    check_fit(
        empty_network(lambda: build_student(described.student, described.facts), len(tensors), where), tensors, where
    )
    student = cast(KoopmanStudent, network_to_fill(lambda: build_student(described.student, described.facts)))
    fill_weights(student, tensors, str(folder))
    return student.eval().requires_grad_(False).to(device or torch.device("cpu")), described
