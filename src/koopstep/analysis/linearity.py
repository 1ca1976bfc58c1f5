"""Is the trajectory people look at true? Latents and decoded states along the path, against the teacher's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from koopstep.analysis.findings import Caption, Curves, Findings
from koopstep.analysis.subject import Subject
from koopstep.analysis.words import percent, short
from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.students.student import KoopmanStudent

_STILL = 1e-3  # a latent that moves by less has nothing to explain
_VERDICTS = ((0.9, "close to linear"), (0.5, "partly linear"), (-float("inf"), "not linear"))


@dataclass(frozen=True)
class Linearity:
    """Errors at each kept state.

    Attributes:
        u: progress of the kept states.
        levels: names of the latent's levels.
        latent: (L, K), relative error of ``e^{uA} E(x_T)`` against ``E(x_u)``: root of summed squares over rows.
        centred: (L, K), mean-removed: the same relative to what differs between rows. A large constant in a latent makes
            the plain relative error small and says nothing.
        still: (L, K), relative error of ``E(x_T)`` itself: what a latent that never moves would score.
        end: (K,), mean squared error of ``D(e^{(1-u)A} E(x_u))`` against the data ``x_0``.
        read: (K,), mean squared error of ``D_u(e^{uA} E(x_T))`` against ``x_u`` over the states' mean square at u; None
            for students that read the end only.
        endpoint: the same at u = 1, for scale: the one-step sample's error over the data's mean square.
    """

    u: tuple[float, ...]
    levels: tuple[str, ...]
    latent: Tensor
    centred: Tensor
    still: Tensor
    end: Tensor
    read: Tensor | None
    endpoint: float

    @property
    def explained(self) -> float | None:
        """Share of the latent's motion along the path that the evolution accounts for; None where the latent stays still."""
        still = float(self.still[:, 1:].square().mean())
        return None if still < _STILL**2 else 1 - float(self.latent[:, 1:].square().mean()) / still

    def summary(self) -> dict[str, Any]:
        """In plain numbers; ``latent_error`` is the mean over levels and states behind the first."""
        values: dict[str, Any] = {
            "latent_error": float(self.latent[:, 1:].mean()),
            "latent_error_centred": float(self.centred[:, 1:].mean()),
            "latent_error_without_evolution": float(self.still[:, 1:].mean()),
            "latent_error_by_level": dict(zip(self.levels, self.latent[:, 1:].mean(dim=1).tolist(), strict=True)),
            "u": list(self.u),
            "latent_error_by_u": self.latent.mean(dim=0).tolist(),
            "latent_error_centred_by_u": self.centred.mean(dim=0).tolist(),
            "latent_error_without_evolution_by_u": self.still.mean(dim=0).tolist(),
            "explained": self.explained,
            "end_error_by_u": self.end.tolist(),
            "endpoint_error": self.endpoint,
        }
        if self.read is not None:
            inner = self.read[1:-1]
            values |= {
                "read_error_by_u": self.read.tolist(),
                "read_error_over_endpoint_error": float(inner.mean()) / max(self.endpoint, 1e-30),
            }
        return values


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
    latent, centred, still, end, read = [], [], [], [], []
    for u, state in zip(progress, batch.states, strict=True):
        moved, truth = student.evolve(start, u, labels), student.encode(state, u, labels)
        pairs = [(ours.float(), theirs.float()) for ours, theirs in zip(moved, truth, strict=True)]
        latent.append(torch.stack([_relative(ours - theirs, theirs) for ours, theirs in pairs]))
        centred.append(torch.stack([_relative(ours - theirs, theirs - theirs.mean(dim=0)) for ours, theirs in pairs]))
        unmoved = [(first.float(), theirs) for first, (_, theirs) in zip(start, pairs, strict=True)]
        still.append(torch.stack([_relative(first - theirs, theirs) for first, theirs in unmoved]))
        reached = student.decode(student.evolve(truth, 1 - u, labels), 1.0, labels)
        end.append((reached - batch.data).square().mean())
        if student.codec.reads_path:
            size = student.codec.state_size(torch.full((1,), u, device=state.device)).square()
            read.append((student.decode(moved, u, labels) - state).square().mean() / size[0])
    one_step = student.decode(student.evolve(start, 1.0, labels), 1.0, labels)
    endpoint = (one_step - batch.data).square().mean() / batch.data.square().mean()
    return Linearity(
        tuple(progress),
        student.level_names,
        torch.stack(latent, dim=1).cpu(),
        torch.stack(centred, dim=1).cpu(),
        torch.stack(still, dim=1).cpu(),
        torch.stack(end).cpu(),
        torch.stack(read).cpu() if read else None,
        float(endpoint),
    )


def _relative(difference: Tensor, scale: Tensor) -> Tensor:
    return (difference.square().sum() / scale.square().sum().clamp(min=1e-30)).sqrt()


def straightness(subject: Subject) -> Findings:
    """Latent and decoded errors along the path."""
    found = linearity(subject.student, subject.rows())
    latent = {name: (found.u, found.latent[index].tolist()) for index, name in enumerate(found.levels)}
    if len(latent) > 1:
        latent["mean over levels"] = (found.u, found.latent.mean(dim=0).tolist())
    latent["without evolution"] = (found.u, found.still.mean(dim=0).tolist())
    decoded = {"from each state to the end": (found.u, found.end.tolist())}
    if found.read is not None:
        decoded["from noise to each state, over its mean square"] = (found.u, found.read.tolist())
    view = Curves(
        "linearity.png",
        {"relative error of the latent": latent, "mean squared error, decoded": decoded},
        across="u (0: noise, 1: data)",
        faint=("mean over levels", "without evolution"),
        ordered=("relative error of the latent",),
        title="the student's straight path against the teacher's states",
    )
    values, sentence = found.summary(), straight_sentence(found)
    text = (
        "Left: error of the evolved latent against that of the teacher's state at u, relative; pale, what a latent that "
        "never moves would score. Right: the same decoded, from noise to each state and from each state to the end."
    )
    numbers = {
        "latent error": short(values["latent_error"]),
        "mean-removed": short(values["latent_error_centred"]),
        "without evolution": short(values["latent_error_without_evolution"]),
        "end-point error over the data's mean square": short(found.endpoint),
    }
    captions = {view.file: Caption("Is the path straight in the latent?", text, sentence)}
    return Findings(values, [view], sentence, captions, numbers)


def straight_sentence(found: Linearity) -> str:
    """How much of the latent's motion is linear, and what is left when decoded."""
    error, centred, still = (float(part[:, 1:].mean()) for part in (found.latent, found.centred, found.still))
    if found.explained is None:
        return (
            f"The latent hardly moves along the path (by {short(still)}), so there is no motion for a linear map to explain; "
            f"the evolved latent is {short(error)} off."
        )
    verdict = next(word for least, word in _VERDICTS if found.explained >= least)
    explained = percent(found.explained) if found.explained > 0 else "nothing"
    return (
        f"The latent path is {verdict}: the evolution explains {explained} of the latent's motion (error {short(error)}, "
        f"mean-removed {short(centred)}; {short(still)} if it stayed where the noise put it)."
    )
