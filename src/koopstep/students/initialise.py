"""Starting a student from its teacher's weights: the decoder begins as the teacher's network at its noisiest level.

With ``carry`` = 1, a silent encoder and an identity operator, the fresh student is then the teacher's own one-step guess,
and training has to learn the difference only. (A teacher that predicts something else than data, as flow matching and the
older preconditionings do, gives its weights all the same, but no guess.) The paper starts from fresh weights; see
``docs/deviations.md``.
"""

from __future__ import annotations

from typing import Any

from koopstep.core.config import Config, dump
from koopstep.core.errors import UsageError
from koopstep.students.kdm import KDMConfig
from koopstep.students.student import KoopmanStudent
from koopstep.teachers.files import TEACHERS, TeacherFile

_MAY_DIFFER = ("dropout", "augment_channels")
"""Of training only: the layer for augmentation labels has no bias, and without labels adds nothing."""


def config_from_teacher(config: KDMConfig, teacher: TeacherFile) -> KDMConfig:
    """``config`` with the decoder's label set to the teacher's noisiest level.

    Raises:
        UsageError: if the decoder is not the teacher's network; dropout and augmentation labels may differ.
    """
    source: Any = teacher.header.config
    label = TEACHERS[source.kind].noisiest_label
    if label is None:
        raise UsageError(f"a teacher of kind {source.kind!r} has no network to start from; set -o initialise=fresh")
    if _lasting(config.decoder) != _lasting(source.network):
        raise UsageError(
            f"to start from the teacher the decoder must be its network ({source.network}), got {config.decoder}; "
            "change student.decoder or set -o initialise=fresh"
        )
    return config.model_copy(update={"decoder_label": label(source)})


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
        decoder.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"the teacher's network does not fit the student's decoder: {reason}") from error


def _lasting(network: Config) -> dict[str, Any]:
    return {name: value for name, value in dump(network).items() if name not in _MAY_DIFFER}
