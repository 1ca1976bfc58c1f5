"""What a recipe is derived from: the facts of a teacher and of the real data at hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

from koopstep.core.pixels import DataRange
from koopstep.teachers.base import Teacher
from koopstep.teachers.edm import EDMConfig
from koopstep.teachers.table import TeacherConfig

_SMALL_IMAGE = 256  # numbers of an image up to which a network over all of them at once does not learn paths by heart


@dataclass(frozen=True)
class Material:
    """What a recipe is derived from.

    Attributes:
        teacher: its name.
        file: where it is: a packaged name, a path, or the name of a function.
        shape: of one sample.
        num_classes: 0 without classes.
        data_range: what black and white are; None of data that are no images.
        twice: whether a step of its solver calls the network twice.
        model: the configuration of a teacher that is a file; None of a function.
        data: name of the real data to compare with; None where there is none at hand.
        labelled: whether these have labels.
        cells: whether these have cells.
    """

    teacher: str
    file: str
    shape: tuple[int, ...]
    num_classes: int = 0
    data_range: DataRange | None = None
    twice: bool = True
    model: TeacherConfig | None = None
    data: str | None = None
    labelled: bool = False
    cells: bool = False

    @property
    def size(self) -> int:
        """Numbers of one sample."""
        return math.prod(self.shape)

    @property
    def square(self) -> bool:
        """Whether a sample is made of square planes, as U-Nets want it."""
        return len(self.shape) == 3 and self.shape[1] == self.shape[2]

    @property
    def is_image(self) -> bool:
        """Whether samples are pictures."""
        return len(self.shape) == 3 and self.data_range is not None

    @property
    def kind(self) -> str:
        """``vector``, ``small image`` or ``image``: the row of the tables in `koopstep.recipes.derive`."""
        if not self.square:
            return "vector"
        return "small image" if self.size <= _SMALL_IMAGE else "image"


def calls_twice(teacher: Teacher) -> bool:
    """Whether a step of the teacher's solver evaluates its network twice, as Heun's and the midpoint method do."""
    return teacher.evaluations(8) > 12


def gives_weights(material: Material) -> bool:
    """Whether a student's U-Net may start from the teacher's: one that predicts data from EDM's noise labels."""
    model = material.model
    return isinstance(model, EDMConfig) and model.preconditioning == "edm" and model.network.kind in ("unet", "adm")
