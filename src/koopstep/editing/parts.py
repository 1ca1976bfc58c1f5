"""What is mixed: latents of samples or of real pictures, and of their references."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from koopstep.core.noise import gaussian, stream_seed
from koopstep.editing import mixing
from koopstep.editing.mixing import EditPoint
from koopstep.editing.pictures import Pictures
from koopstep.sampling.onestep import sampling_labels
from koopstep.students.codec import Latent
from koopstep.students.student import KoopmanStudent

_AT_ONCE = 32


@dataclass(frozen=True)
class Part:
    """Some of the pictures, at the point of the edit: their latents, their references' and their classes."""

    latent: Latent
    reference: Latent
    class_labels: Tensor | None


def parts_of(
    student: KoopmanStudent,
    count: int,
    point: EditPoint,
    *,
    seed: int,
    given: Pictures | None = None,
    reference: Tensor | None = None,
) -> Iterator[Part]:
    """Latents at that point, some pictures at a time; their noise has a stream of its own, away from training's.

    Args:
        student: with block operators, on its device.
        count: pictures.
        point: of the edit.
        seed: of all noise.
        given: ``count`` real pictures; samples when absent.
        reference: a picture (1, C, H, W) to take modes from; other samples when absent.
    """
    shape, device = student.facts.shape, next(student.parameters()).device
    seed, theirs = stream_seed("edit", seed), stream_seed("edit reference", seed)
    labels, other_labels = (sampling_labels(student.facts.num_classes, one, count, None) for one in (seed, theirs))
    labels = labels if given is None else given.class_labels
    other_picture = None if reference is None else reference.to(device)
    for start in range(0, count, _AT_ONCE):
        rows = range(start, min(start + _AT_ONCE, count))
        own, other = (None if one is None else one[list(rows)].to(device) for one in (labels, other_labels))
        noise, further = (gaussian(one, rows, shape).to(device) for one in (seed, theirs))
        if given is None:
            latent = mixing.arrive(student, noise, point, own)
        else:
            latent = mixing.come_back(student, given.data[list(rows)].to(device), point, own)
        if other_picture is None:
            mixed_in = mixing.arrive(student, further, point, other)
        elif given is None:
            path = student.codec.schedule()
            state = path.noisy(other_picture.expand_as(further), further, path.levels_at([point.u])[0])
            mixed_in = student.encode(state, point.u, own)
        else:
            mixed_in = mixing.come_back(student, other_picture.expand_as(further), point, own)
        yield Part(latent, mixed_in, own)
