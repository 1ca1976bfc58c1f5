"""Is the trajectory people look at true? Latents and decoded states along the path, against the teacher's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.findings import Caption, Curves, Findings
from koopstep.analysis.subject import Subject
from koopstep.analysis.words import held_out_rows, percent, short
from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.students.codec import Latent
from koopstep.students.student import KoopmanStudent

_STILL = 1e-3  # a latent that moves by less has nothing to explain
_CLOSE = 0.2  # the largest mean-removed error of a path that is close to linear


@dataclass(frozen=True)
class Linearity:
    """Errors at each kept state: of the evolved latent, and of one that stands still.

    Relative errors are roots of sums of squares over rows and numbers. A large constant in a latent makes those of the latent
    itself small, and one that moves along the path makes standing still look wrong, and neither says anything of a sample.
    Those with ``centred`` are mean-removed: every latent less its mean over the rows.

    Attributes:
        u: progress of the kept states.
        levels: names of the latent's levels.
        rows: paths that were looked at.
        latent: (L, K), ``|e^{uA} E(x_T) - E(x_u)|`` over ``|E(x_u)|``.
        centred: (L, K), the same mean-removed.
        still: (L, K), ``|E(x_T) - E(x_u)|`` over ``|E(x_u)|``: what a latent that never moves would score.
        still_centred: (L, K), the same mean-removed.
        end: (K,), mean squared error of ``D(e^{(1-u)A} E(x_u))`` against the data ``x_0``.
        read: (K,), mean squared error of ``D_u(e^{uA} E(x_T))`` against ``x_u`` over the states' mean square at u; None
            for students that read the end only.
        endpoint: the same at u = 1, for scale: the one-step sample's error over the data's mean square.
    """

    u: tuple[float, ...]
    levels: tuple[str, ...]
    rows: int
    latent: Tensor
    centred: Tensor
    still: Tensor
    still_centred: Tensor
    end: Tensor
    read: Tensor | None
    endpoint: float

    @property
    def explained(self) -> float | None:
        """Share of the latent's motion, mean-removed, that the evolution accounts for; None where the latent stays still."""
        still = float(self.still_centred[:, 1:].square().mean())
        return None if still < _STILL**2 else 1 - float(self.centred[:, 1:].square().mean()) / still

    def summary(self) -> dict[str, Any]:
        """In plain numbers; the errors of the latent are means over levels and over the states behind the first."""
        errors = {
            "latent_error": self.latent,
            "latent_error_without_evolution": self.still,
            "latent_error_centred": self.centred,
            "latent_error_centred_without_evolution": self.still_centred,
        }
        values: dict[str, Any] = {"rows": self.rows, "u": list(self.u), "explained": self.explained}
        for name, error in errors.items():
            values |= {name: _mean(error), f"{name}_by_u": error.mean(dim=0).tolist()}
            values[f"{name}_by_level"] = dict(zip(self.levels, error[:, 1:].mean(dim=1).tolist(), strict=True))
        values |= {"end_error_by_u": self.end.tolist(), "endpoint_error": self.endpoint}
        if self.read is not None:
            inner = self.read[1:-1]
            values |= {
                "read_error_by_u": self.read.tolist(),
                "read_error_over_endpoint_error": float(inner.mean()) / max(self.endpoint, 1e-30),
            }
        return values


def _mean(error: Tensor) -> float:
    """Over levels and the states behind the first."""
    return float(error[:, 1:].mean())


@torch.no_grad()
def linearity(student: KoopmanStudent, batch: Batch) -> Linearity:
    """Compare the student's straight path with the teacher's stored one.

    Raises:
        UsageError: if the store keeps the two ends only, or the student knows no others.
    """
    student.codec.schedule()  # says so where a codec knows the ends only
    if len(batch.states) < 3:
        raise UsageError(
            "linearity looks at states within the path, and this store keeps its ends only; collect with --keep all"
        )
    labels, progress = batch.class_labels, batch.progress.tolist()
    start = student.encode(batch.states[0], 0.0, labels)
    errors: list[Tensor] = []
    end, read = [], []
    for u, state in zip(progress, batch.states, strict=True):
        moved, truth = student.evolve(start, u, labels), student.encode(state, u, labels)
        errors.append(_errors(start, moved, truth))
        reached = student.decode(student.evolve(truth, 1 - u, labels), 1.0, labels)
        end.append((reached - batch.data).square().mean())
        if student.codec.reads_path:
            size = student.codec.state_size(torch.full((1,), u, device=state.device)).square()
            read.append((student.decode(moved, u, labels) - state).square().mean() / size[0])
    one_step = student.decode(student.evolve(start, 1.0, labels), 1.0, labels)
    endpoint = (one_step - batch.data).square().mean() / batch.data.square().mean()
    latent, still, centred, still_centred = torch.stack(errors, dim=2).cpu()
    return Linearity(
        u=tuple(progress),
        levels=student.level_names,
        rows=len(batch),
        latent=latent,
        centred=centred,
        still=still,
        still_centred=still_centred,
        end=torch.stack(end).cpu(),
        read=torch.stack(read).cpu() if read else None,
        endpoint=float(endpoint),
    )


def _errors(start: Latent, moved: Latent, truth: Latent) -> Tensor:
    """(4, L): ``latent``, ``still``, ``centred`` and ``still_centred`` of `Linearity` at one state."""
    levels = []
    for each in zip(start, moved, truth, strict=True):
        whole = [level.float() for level in each]
        centred = [level - level.mean(dim=0) for level in whole]
        levels.append(
            torch.stack(
                [_relative(at - theirs, theirs) for first, ours, theirs in (whole, centred) for at in (ours, first)]
            )
        )
    return torch.stack(levels, dim=1)


def _relative(difference: Tensor, scale: Tensor) -> Tensor:
    return (difference.square().sum() / scale.square().sum().clamp(min=1e-30)).sqrt()


def straightness(subject: Subject) -> Findings:
    """Latent and decoded errors along the path."""
    found = linearity(subject.student, subject.rows())
    latent = {name: (found.u, found.centred[index].tolist()) for index, name in enumerate(found.levels)}
    if len(latent) > 1:
        latent["mean over levels"] = (found.u, found.centred.mean(dim=0).tolist())
    latent["standing still"] = (found.u, found.still_centred.mean(dim=0).tolist())
    decoded = {"from each state to the end": (found.u, found.end.tolist())}
    if found.read is not None:
        decoded["from noise to each state, over its mean square"] = (found.u, found.read.tolist())
    head = "relative error of the latent, mean-removed"
    view = Curves(
        "linearity.png",
        {head: latent, "mean squared error, decoded": decoded},
        across="u (0: noise, 1: data)",
        faint=("mean over levels", "standing still"),
        ordered=(head,),
        title="the student's straight path against the teacher's states",
    )
    sentence = straight_sentence(found)
    text = (
        "Left: error of the evolved latent against that of the teacher's state at u, every latent less its mean over the rows; "
        f"{'dashed, its mean over levels; ' * (len(found.levels) > 1)}pale, what a latent that stands still would score. "
        "Right: the same decoded, from noise to each state and from each state to the end."
    )
    numbers = {
        "latent error, mean-removed": short(_mean(found.centred)),
        "standing still, mean-removed": short(_mean(found.still_centred)),
        "latent error": short(_mean(found.latent)),
        "standing still": short(_mean(found.still)),
        "end-point error over the data's mean square": short(found.endpoint),
        "held-out rows": found.rows,
    }
    captions = {view.file: Caption("Is the path straight in the latent?", text, sentence)}
    return Findings(found.summary(), [view], sentence, captions, numbers)


def straight_sentence(found: Linearity) -> str:
    """How much of the latent's motion is linear, beside what a latent that stands still would score."""
    error, still = short(_mean(found.centred)), short(_mean(found.still_centred))
    where = f"on {held_out_rows(found.rows)}"
    if found.explained is None:
        return (
            f"The latent hardly moves along the path (by {still} of what differs between rows, {where}), so there is no motion "
            f"for a linear map to explain; the evolved latent is {error} off."
        )
    verdict = _verdict(found.explained, _mean(found.centred))
    explained = percent(found.explained) if found.explained > 0 else "nothing"
    return (
        f"{verdict}: the evolved latent misses {error} of what differs between rows, one that stands still {still}, so "
        f"the evolution explains {explained} of the latent's motion ({where})."
    )


def _verdict(explained: float, error: float) -> str:
    """A small share of a large motion may still be more than all that tells rows apart, so the error counts, too."""
    if explained < 0.5:
        return "The operator does little for the latent path"
    if explained < 0.9:
        return "The latent path is partly linear"
    if error <= _CLOSE:
        return "The latent path is close to linear"
    return f"The latent path moves linearly but misses {100 * error:,.0f} % of its spread"
