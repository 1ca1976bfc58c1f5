"""Which eigenvalues passed, for pictures of spectra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.subject import Subject
from koopstep.analysis.verify import judge_student, looked_at
from koopstep.analysis.verify_criterion import THRESHOLD, Judged, said
from koopstep.core.errors import KoopstepError
from koopstep.operators.spectrum import Spectrum


@dataclass(frozen=True)
class Marks:
    """What is known of a student's eigenvalues on held-out paths.

    Attributes:
        judged: one a level; None where its eigenvalues were not judged.
        words: how many passed, or why that is not known.
    """

    judged: tuple[Judged | None, ...]
    words: str

    def of_rates(self, level: int, shape: torch.Size) -> Tensor | None:
        """Bool of ``shape`` (C/2, H, W): whose eigenvalues passed; None where unknown."""
        judged = self.judged[level] if self.judged else None
        return None if judged is None else judged.of_pairs(shape)

    def of_spectrum(self, level: int, spectrum: Spectrum) -> Tensor | None:
        """Bool (d,): which of the eigenvalues of ``spectrum`` passed; None where unknown."""
        judged = self.judged[level] if self.judged else None
        if judged is None:
            return None
        values = spectrum.eigenvalues
        upper = torch.complex(values.real, values.imag.abs())
        own = judged.eigenvalues.cpu()
        if judged.sums.functions.weights is None:  # in the order of the pairs, each with its conjugate
            return judged.passed[judged.sums.functions.space.cpu()].repeat_interleave(2)
        return judged.passed[(upper[:, None] - own[None]).abs().argmin(dim=1)]

    @property
    def caption(self) -> str:
        """The same below a picture."""
        return f"{self.words} Filled marks passed, hollow ones did not." if self.judged else self.words

    def values(self) -> dict[str, Any]:
        """In plain numbers; ``passed`` is None where it is not known."""
        known = [one for one in self.judged if one is not None]
        every = sum(one.count(torch.ones_like(one.moves)) for one in known)
        passed = sum(one.count(one.passed) for one in known) if known else None
        return {"passed": passed, "eigenvalues": every or None, "threshold": THRESHOLD, "words": self.words}


def marks(subject: Subject) -> Marks:
    """Judge a student's eigenvalues on the subject's held-out paths, where there are some."""
    try:
        paths = subject.paths()
        _, judged = judge_student(subject.student, looked_at(subject.student, paths))
    except KoopstepError as error:
        return Marks((), f"Not verified: {error}.")
    known = [one for one in judged if one is not None]
    if not known:
        return Marks((), "Not verified: the operator's matrix is too large to take apart.")
    return Marks(tuple(judged), f"Verified on held-out paths: {said(known)}")
