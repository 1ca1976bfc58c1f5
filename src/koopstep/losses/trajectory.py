"""The terms that learn from states within the path: HKD's trajectory consistency (Eq. 6) and what we add to it."""

from __future__ import annotations

import torch
from torch import Tensor

from koopstep.core.errors import UsageError
from koopstep.losses.passes import Pass
from koopstep.students.codec import Latent


def trajectory(run: Pass) -> Tensor:
    """HKD Eq. 6: ``d(x_1, D(e^{(1-u)A} E(x_u)))``, a mean over the drawn points; that of u = 0 is ``prediction``."""
    return torch.stack([run.within.to_data(end) for end in run.within.ends]).mean()


def intermediate(run: Pass) -> Tensor:
    """Squared error of ``D_u(e^{(u-s)A} E(x_s))`` against ``x_u`` for s < u < 1, in units of the states' mean square at u.

    Not in the paper, whose decoder knows the end only: with it states within the path can be read, and several steps taken.
    """
    run = run.within
    target, source, labels = run.points[0], run.earlier, run.batch.class_labels
    read = run.student.decode(run.student.evolve(source.latent, target.u - source.u, labels), target.u, labels)
    size = run.student.codec.state_size(target.u).view(-1, *[1] * (read.ndim - 1))
    return ((read - target.state) / size).square().mean()


def linearity(run: Pass) -> Tensor:
    """How far ``e^{uA} E(x_0)`` is from ``E(x_u)``: squared, relative to the latter, a mean over levels and the states kept.

    Not in the paper: with it the latent path that people look at is the teacher's, and real data has a place on it. The
    end counts as one state among those within. ``objective.linearity_scale`` says relative to what.
    """
    run = run.within
    labels, last = run.batch.class_labels, len(run.batch.states) - 1
    within = torch.stack(
        [_missed(run, run.student.evolve(run.noise_latent, at.u, labels), at.latent, at.place) for at in run.points]
    ).mean()
    end = _missed(run, run.pushed, run.clean_data_latent, torch.full_like(run.points[0].place, last))
    return ((last - 1) * within + end) / last


def generator(run: Pass) -> Tensor:
    """The same between neighbouring states, ``(e^{hA} E(x_u) - E(x_{u+h})) / h``: the generator dE/du = A E, by differences."""
    run = run.within
    labels, values = run.batch.class_labels, []
    for point in run.points:
        after = run.point(point.place + 1)
        step = after.u - point.u
        moved = run.student.evolve(point.latent, step, labels)
        values.append(_missed(run, moved, after.latent, after.place) / step.mean() ** 2)
    return torch.stack(values).mean()


def relative(moved: Latent, target: Latent) -> Tensor:
    """Mean over levels and rows of the squared difference over the target's square."""
    shares = []
    for ours, theirs in zip(moved, target, strict=True):
        ours, theirs = ours.float().flatten(1), theirs.float().flatten(1)
        shares.append(((ours - theirs).square().sum(dim=1) / theirs.square().sum(dim=1).clamp(min=1e-8)).mean())
    return torch.stack(shares).mean()


def unexplained(moved: Latent, target: Latent, place: Tensor) -> Tensor:
    """Mean over levels of the squared difference over the target's variance between rows at the same place of the path.

    A part that is the same for all rows, however it moves along the path, adds to neither. The variance is pooled over
    places and has no bias, so that few rows (a part of a batch) estimate what many do. Where no two rows are at the same
    place it is that of all rows.

    Args:
        moved: a tuple of (B, ...).
        target: the same shapes.
        place: int64 (B,), which of the kept states each row of ``target`` is.

    Raises:
        UsageError: if there is one row only.
    """
    rows = len(place)
    if rows < 2:
        raise UsageError(
            "objective.linearity_scale 'spread' compares rows that go through together, and there is one only; raise "
            "training.batch_size or training.micro_batch, or lower objective.trajectory_every"
        )
    at = torch.nn.functional.one_hot(place).float()
    at = at[:, at.any(dim=0)]  # (B, G)
    if at.shape[1] == rows:
        at = torch.ones_like(at[:, :1])
    shares = []
    for ours, theirs in zip(moved, target, strict=True):
        ours, theirs = ours.float().flatten(1), theirs.float().flatten(1)
        with torch.autocast(theirs.device.type, enabled=False):  # in half the digits a constant would not cancel
            mean = at @ (at.T @ theirs / at.sum(dim=0).unsqueeze(1))
        variance = (theirs - mean).square().sum() / (rows - at.shape[1])
        shares.append((ours - theirs).square().sum() / rows / variance.clamp(min=1e-8))
    return torch.stack(shares).mean()


def _missed(run: Pass, moved: Latent, target: Latent, place: Tensor) -> Tensor:
    """By how much ``moved`` misses ``target`` at ``place``, in the units that the objective asks for."""
    return relative(moved, target) if run.config.linearity_scale == "state" else unexplained(moved, target, place)
