"""Where a run comes from: the teacher of its paths, and the data that teacher learned from.

What samples are compared with comes from here or from the user, never from a preset: a preset says what it was written for,
not what happened.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from koopstep.core.errors import DamagedError, KoopstepError, UsageError
from koopstep.core.records import Found
from koopstep.data.collect import check_store
from koopstep.data.sources import DataSource, load_source
from koopstep.runs.folder import OpenRun, own_store
from koopstep.runs.references import remembered_reference
from koopstep.teachers.base import Teacher, TeacherIdentity, TrainingData
from koopstep.teachers.files import TeacherFile, find_teacher, goes_by, is_same_teacher, read_teacher_file


def own_teacher(
    places: Iterable[str], name: str, sha256: str, device: torch.device | None = None
) -> Found[TeacherFile]:
    """The teacher that made some paths, known by the digest of its file.

    Args:
        places: where it may be: paths, or names of packaged teachers.
        name: of the teacher.
        sha256: of its file; empty for a function.
        device: where its network goes.
    """
    found = own_teacher_file(places, name, sha256)
    if found.value is None:
        return Found(None, found.error)
    try:
        return Found(read_teacher_file(found.value, device))
    except (DamagedError, UsageError) as error:
        return Found(None, error)


def own_teacher_file(places: Iterable[str], name: str, sha256: str) -> Found[Path]:
    """Where the teacher of :func:`own_teacher` is; it is not read, but for its digest."""
    if not sha256:
        return Found(None, UsageError(f"the paths were made by the function {name!r}, not by a teacher file"))
    other = ""
    for place in dict.fromkeys(places):
        try:
            path = find_teacher(place)
            if is_same_teacher(path, sha256):
                return Found(path)
            other = f": {place!r} is another one"
        except UsageError:
            continue
    return Found(None, UsageError(f"the teacher {name!r} that made the paths is not at hand{other}"))


def training_data(file: str, identity: TeacherIdentity) -> Found[TrainingData]:
    """What the teacher of a store learned from: as the store says, or (version 0.1) as the teacher's file does.

    Args:
        file: where the teacher may be: a path, or the name of a packaged one. Its own name is tried next.
        identity: as the store has it.
    """
    return _learned(identity.training_data, file, identity.name, identity.sha256)


def data_of_run(opened: OpenRun) -> Found[DataSource]:
    """The data that a run's teacher learned from, if the same is at hand, else what the run was given; no store is asked."""
    config = opened.config
    if config is None:
        missing = f"{opened.folder} is a student folder, which does not say what data its teacher learned from"
        return Found(None, UsageError(missing))
    learned = _learned(config.training_data, config.recipe.teacher.file, config.teacher, config.teacher_sha256)
    if learned.value is None:
        return remembered_reference(opened.folder, opened.student.facts) or Found(None, learned.error)
    return find_data(learned.value, [config.recipe.data])


def _learned(known: TrainingData | None, file: str, name: str, sha256: str) -> Found[TrainingData]:
    teacher = own_teacher((file, name), name, sha256).value if known is None else None
    found = known if teacher is None else teacher.header.learned_from()
    return Found(found, None if found else UsageError(f"nothing says what data the teacher {name!r} learned from"))


def teacher_of_run(opened: OpenRun, device: torch.device) -> Found[TeacherFile]:
    """The teacher that a run's student learned from."""
    config = opened.config
    if config is None:
        return Found(None, UsageError(f"{opened.folder} is a student folder, which does not say where its teacher is"))
    return own_teacher((config.recipe.teacher.file, config.teacher), config.teacher, config.teacher_sha256, device)


def check_teacher(opened: OpenRun, teacher: Teacher) -> None:
    """Refuse a teacher that is not the one a run's student learned from: by its digest, of functions by their name and paths.

    Where the store of a function's paths is gone, the name has to do.

    Raises:
        UsageError: then.
    """
    config, facts, told = opened.config, opened.student.facts, opened.file.provenance
    name = str(told.get("teacher", teacher.name)) if config is None else config.teacher
    sha256 = str(told.get("teacher_sha256", "")) if config is None else config.teacher_sha256
    same = (teacher.name, teacher.sha256) == (name, "")
    if sha256:
        kept = () if config is None else (config.recipe.teacher.file, name)
        file = own_teacher_file(kept, name, sha256).value  # of a converted one, which has another digest itself
        same = goes_by(teacher, sha256) or (file is not None and is_same_teacher(file, teacher.sha256))
    data = (tuple(teacher.shape), teacher.num_classes, teacher.noise_scale)
    if not same or data != (tuple(facts.shape), facts.num_classes, facts.noise_scale):
        raise UsageError(
            f"{opened.folder} learned from the teacher {name!r}, and this {teacher.name!r} is another one; give the one that "
            "made its paths, or none"
        )
    if config is not None and not sha256:
        try:
            store = own_store(opened.folder, config)
        except KoopstepError:
            return
        check_store(teacher, store.folder, device=next(opened.student.parameters()).device)


def find_data(learned: TrainingData, places: Iterable[str] = ()) -> Found[DataSource]:
    """The data of a record, if what is at hand under its name (or at one of ``places``) is the same by digest and shape."""
    names = [learned.name, *(place for place in places if Path(place).name == learned.name)]
    error: UsageError | DamagedError | None = None
    for name in dict.fromkeys(names):
        try:
            source = load_source(name)
        except (UsageError, DamagedError) as absent:
            error = error or UsageError(f"the data that the teacher learned from is not at hand: {absent}")
            continue
        found = source.identity()
        if learned.matches(found) and learned.num_classes in (None, found.num_classes):
            return Found(source)
        error = UsageError(
            f"the data {name!r} at hand is not what the teacher learned from: {_described(found)}, not {_described(learned)}"
        )
    return Found(None, error)


def _described(data: TrainingData) -> str:
    classes = "" if data.num_classes is None else f", {data.num_classes or 'no'} classes"
    return f"SHA-256 {data.sha256[:16]}, shape {data.shape}{classes}"
