"""The table of students. To add one: a file with its config and build function, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from koopstep.students.hkd import HKDConfig, build_hkd
from koopstep.students.kdm import KDMConfig, build_kdm
from koopstep.students.modes import ModesConfig, build_modes
from koopstep.students.student import DataFacts, KoopmanStudent

StudentConfig = Annotated[KDMConfig | HKDConfig | ModesConfig, Field(discriminator="kind")]

STUDENTS: dict[str, Callable[[Any, DataFacts, int], KoopmanStudent]] = {
    "kdm": build_kdm,
    "hkd": build_hkd,
    "modes": build_modes,
}


def build_student(config: StudentConfig, facts: DataFacts, seed: int = 0) -> KoopmanStudent:
    """A fresh student for data of ``facts``.

    The operators' initial weights depend on ``seed`` alone; those of the networks on PyTorch's global generator, which
    the caller seeds. A student that gets its weights from a file needs neither.
    """
    return STUDENTS[config.kind](config, facts, seed)
