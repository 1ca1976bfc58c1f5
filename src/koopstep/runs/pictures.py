"""What edits start from: real pictures, their mean, and the teacher."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.job import Job
from koopstep.core.noise import permutation
from koopstep.core.records import Found
from koopstep.data.sources import load_source, say_changed
from koopstep.editing import masks
from koopstep.editing.pictures import Pictures, fit
from koopstep.editing.zeroshot import Field
from koopstep.formats import images
from koopstep.runs.folder import OpenRun, open_run
from koopstep.runs.origin import data_of_run, teacher_of_run
from koopstep.sampling.onestep import sampling_labels

_HELD_OUT = {"mnist": "mnist-test", "cifar10": "cifar10-test"}
_MOST_FOR_MEAN = 10_000


def real_pictures(opened: OpenRun, image: Path | None, count: int, seed: int) -> Pictures:
    """Pictures to edit: those named, else some of the run's data that its teacher did not learn from, where there are any.

    Raises:
        UsageError: if they cannot be read, do not fit the student, or nothing says where to find any.
    """
    if image is not None:
        if image.is_file() and image.suffix.lower() not in (".zip", ".npz"):
            data, labels = masks.read_picture(image)[None], None
        else:
            data, labels, changed = images.load(image)
            say_changed(str(image), changed)
        origin = str(image)
        rows = torch.arange(len(data))[:count]
    else:
        source = data_of_run(opened).need("; name pictures with --image")
        unseen = _HELD_OUT.get(source.name)
        data, labels = (source if unseen is None else load_source(unseen)).reference()
        origin = unseen or f"{source.name} (its teacher learned from these, too)"
        rows = torch.from_numpy(permutation(seed, len(data))[:count].copy())
    fitted = fit(data[rows], opened.student.facts, origin)
    return Pictures(fitted, _labels(opened, None if labels is None else labels[rows], len(rows), seed), origin)


def pictures_to_mix(opened: OpenRun, image: Path, count: int, seed: int) -> Pictures:
    """Real pictures to mix into, for a student that knows where on its path they lie.

    Raises:
        UsageError: if it does not, or they cannot be read or do not fit.
    """
    objective = None if opened.config is None else opened.config.recipe.objective
    if objective is not None and not objective.sees_data:
        raise UsageError(
            "real pictures are lifted at the end of the path, which this student never saw; train one with --method hkd+ "
            "(objective.linearity above 0), or with --method modes (objective.states_from_end above 0)"
        )
    return real_pictures(opened, image, count, seed)


def open_images(run: Path, job: Job) -> OpenRun:
    """Open a run whose student makes images.

    Raises:
        UsageError: if it makes other data.
    """
    opened = open_run(run, job.place.device)
    facts = opened.student.facts
    if not facts.is_image:
        what = "vectors" if len(facts.shape) != 3 else "data that are no images (their data_range is None)"
        raise UsageError(f"editing is for images; this student makes {what} of shape {facts.shape}")
    return opened


def check_training(opened: OpenRun) -> None:
    """Refuse a student that cannot start within its path: its networks must be able to, and must have learned to.

    Raises:
        UsageError: then.
    """
    opened.student.codec.schedule()  # says where there is no path
    if opened.config is None:
        return
    objective = opened.config.recipe.objective
    if not (objective.trajectory or objective.intermediate or objective.states_within):
        raise UsageError(
            "filling in starts from states within the path, and this student learned from its start only; train one "
            "with --method hkd (objective.trajectory above 0), or modes (objective.states_within above 0)"
        )


def _labels(opened: OpenRun, known: Tensor | None, count: int, seed: int) -> Tensor | None:
    """Classes for a conditional student: the pictures' own where they are known and fit, else drawn."""
    classes = opened.student.facts.num_classes
    if classes and known is not None and bool((known < classes).all()):
        return known
    return sampling_labels(classes, seed, count, None)


def mean_picture(opened: OpenRun) -> Found[Tensor]:
    """The mean (1, C, H, W), in [-1, 1], of the data that the run's teacher learned from (of at most 10,000 pictures)."""
    source = data_of_run(opened)
    if source.value is None:
        return Found(None, source.error)
    return Found(source.value.reference(_MOST_FOR_MEAN)[0].mean(dim=0, keepdim=True))


def teacher_network(opened: OpenRun, device: torch.device) -> Found[Field]:
    """The network of the teacher that the student learned from: denoiser or velocity."""
    found = teacher_of_run(opened, device)
    if found.value is None:
        return Found(None, found.error)
    kind = found.value.header.config.kind
    if kind not in ("edm", "flow"):
        return Found(None, UsageError(f"teachers of the kind {kind!r} are not compared with"))
    return Found(found.value.model)
