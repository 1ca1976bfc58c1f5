"""What ``koopstep edit RUN mix`` mixes: latents of samples or of real pictures, and of their references."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian, stream_seed
from koopstep.editing import masks, mixing
from koopstep.editing.mixing import Moment
from koopstep.sampling.onestep import sampling_labels
from koopstep.students.student import KoopmanStudent, Latent
from koopstep.workflows.edit_images import EditOptions, Pictures, fit, real_pictures
from koopstep.workflows.run import OpenRun

_AT_ONCE = 32


@dataclass(frozen=True)
class Part:
    """Some of the pictures, at the moment of the edit: their latents, their references' and their classes."""

    latent: Latent
    reference: Latent
    class_labels: Tensor | None


def pictures_to_mix(opened: OpenRun, options: EditOptions, count: int) -> Pictures:
    """Real pictures to mix into, for a student that knows where on its path they lie.

    Raises:
        UsageError: if it does not, or they cannot be read or do not fit.
    """
    objective = None if opened.config is None else opened.config.recipe.objective
    if objective is not None and not (objective.linearity or objective.reconstruction):
        raise UsageError(
            "real pictures are lifted at the end of the path, which this student never saw; train one with --method hkd+ "
            "(objective.linearity above 0)"
        )
    return real_pictures(opened, options, count)


def parts_of(
    student: KoopmanStudent,
    options: EditOptions,
    count: int,
    moment: Moment,
    device: torch.device,
    given: Pictures | None = None,
) -> Iterator[Part]:
    """Latents at the moment, some pictures at a time; their noise has a stream of its own, away from training's."""
    shape, seed = student.facts.shape, stream_seed("edit", options.seed)
    theirs = stream_seed("edit reference", options.seed)
    labels, other_labels = (sampling_labels(student.facts.num_classes, one, count, None) for one in (seed, theirs))
    labels = labels if given is None else given.class_labels
    other_picture = None if options.reference is None else reference_picture(options.reference, shape).to(device)
    for start in range(0, count, _AT_ONCE):
        rows = range(start, min(start + _AT_ONCE, count))
        own, other = (None if one is None else one[list(rows)].to(device) for one in (labels, other_labels))
        noise, further = (gaussian(one, rows, shape).to(device) for one in (seed, theirs))
        if given is None:
            latent = mixing.arrive(student, noise, moment, own)
        else:
            latent = mixing.come_back(student, given.data[list(rows)].to(device), moment, own)
        if other_picture is None:
            reference = mixing.arrive(student, further, moment, other)
        elif given is None:
            path = student.codec.schedule()
            state = path.noisy(other_picture.expand_as(further), further, path.levels_at([moment.u])[0])
            reference = student.encode(state, moment.u, own)
        else:
            reference = mixing.come_back(student, other_picture.expand_as(further), moment, own)
        yield Part(latent, reference, own)


def reference_picture(path: Path, shape: tuple[int, ...]) -> Tensor:
    """The reference (1, C, H, W) that was named."""
    return fit(masks.read_picture(path)[None], shape, str(path))
