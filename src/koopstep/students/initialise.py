"""Starting a student from its teacher's weights: the decoder begins as the teacher's network at its noisiest level.

An HKD student takes the whole network, both halves.

With ``carry`` = 1, a silent encoder and an identity operator, the fresh student is then the teacher's own one-step guess,
and training has to learn the difference only. (A teacher that predicts something else than data, as flow matching and the
older preconditionings do, gives its weights all the same, but no guess.) The paper starts from fresh weights; see
``docs/lab/deviations.md``.
"""

from __future__ import annotations

from typing import Any

import torch

from koopstep.core.config import Config, dump
from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.students.student import KoopmanStudent
from koopstep.students.table import StudentConfig
from koopstep.teachers.files import TeacherFile
from koopstep.teachers.table import TEACHERS, TeacherConfig

_WILD = 100.0
"""Samples of so many times the data's mean square are worth a word."""

_MAY_DIFFER = ("dropout", "augment_channels")
"""Of training only: the layer for augmentation labels has no bias, and without labels adds nothing."""


def config_from_teacher(config: StudentConfig, teacher: TeacherConfig) -> StudentConfig:
    """``config`` for a student that starts from such a teacher: KDM's decoder is called with the noisiest label.

    Raises:
        UsageError: if the decoder is not the teacher's network (dropout and augmentation labels may differ), or an HKD
            student's network would be conditioned on other labels than the teacher's was.
    """
    source: Any = teacher
    label = TEACHERS[source.kind].noisiest_label
    if label is None:
        raise UsageError(f"a teacher of kind {source.kind!r} has no network to start from; set -o initialise=fresh")
    name, network = config.network_of_teacher()
    if network is None or _lasting(network) != _lasting(source.network):
        raise UsageError(
            f"to start from the teacher the {name} must be its network ({source.network}), got {network}; "
            f"change student.{name} or set -o initialise=fresh"
        )
    return config.started_from(source.shape, getattr(source, "preconditioning", "edm"), label(source))


def start_from_teacher(student: KoopmanStudent, teacher: TeacherFile) -> None:
    """Copy the weights of the teacher's network into the student's decoder.

    Raises:
        UsageError: if they do not fit (another number of planes, or of classes).
    """
    decoder = student.codec.decoder_network()
    known = decoder.state_dict().keys()
    weights = {
        name.removeprefix("model."): value
        for name, value in teacher.model.state_dict().items()
        if name.startswith("model.") and (name.removeprefix("model.") in known or "map_augment" not in name)
    }
    try:
        decoder.load_state_dict(student.codec.fit_weights(weights))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"the teacher's network does not fit the student's decoder: {reason}") from error


@torch.no_grad()
def note_on_start(student: KoopmanStudent, batch: Batch) -> str:
    """What to say of a fresh student whose first samples are far larger than the data; empty where they are not.

    Args:
        student: before its first step.
        batch: some rows of its store.
    """
    device = next(student.parameters()).device
    labels = None if batch.class_labels is None else batch.class_labels.to(device)
    made = student.generate(batch.noise.to(device), labels).square().mean()
    data = batch.data.square().mean()
    if float(made) <= _WILD * float(data):
        return ""
    return (
        f"the fresh student's samples have a mean square of {float(made):.3g}, the data {float(data):.3g}: much of the "
        f"training will go into shrinking noise of size {student.facts.noise_scale:g}; other student.observables, a slower "
        "student.operator.initial_rate or a teacher of less noise start nearer"
    )


def _lasting(network: Config) -> dict[str, Any]:
    return {name: value for name, value in dump(network).items() if name not in _MAY_DIFFER}
