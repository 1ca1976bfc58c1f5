"""The terms that learn the states on the way, for students that read them; not in the papers."""

from __future__ import annotations

import torch
from torch import Tensor

from koopstep.losses.passes import Pass


def states(run: Pass) -> Tensor:
    """Squared error of the states within the path, read from the noise's latent, in units of the states' mean square at u.

    A mean over those that are learned from, weighted by ``u^states_power``. The end is the term ``prediction``.
    """
    inner = run.inner
    progress = run.batch.progress[inner]
    read = run.student.read(run.noise_latent, 0.0, progress, run.batch.class_labels)
    errors = _relative(run, read, inner)
    weights = progress.to(errors) ** run.config.states_power
    return (errors * weights).sum() / weights.sum()


def states_within(run: Pass) -> Tensor:
    """The same for all states, noise and end among them, read from the latent of a drawn state, which may be the end."""
    run = run.within
    point, every = run.start, run.learned
    read = run.student.read(point.latent, point.u, run.batch.progress[every], run.batch.class_labels)
    return _relative(run, read, every).mean()


def inversion(run: Pass) -> Tensor:
    """Squared error of what becomes of the noise that data is taken to come from, in units of the data's mean square.

    Of the rows that start at their end, whose latents ``states_within`` has made already.
    """
    run = run.within
    few, student = slice(0, run.from_end), run.student
    labels = None if run.batch.class_labels is None else run.batch.class_labels[few]
    latent = tuple(level[few] for level in run.start.latent)
    noise = student.read(latent, 1.0, run.batch.progress[:1], labels)[0]
    moved = student.evolve(student.encode(noise, 0.0, labels), 1.0, labels)
    again = student.decode(moved, 1.0, labels)
    size = student.codec.state_size(run.batch.progress[-1:]).to(again.dtype)
    return (again - run.batch.data[few]).square().mean() / size[0].square()


def sparsity(run: Pass) -> Tensor:
    """The sum over modes of how much of the state each is: a group lasso, under which needless modes vanish.

    A mode's part is the root of its mean square along the learned states, in units of the states' mean square there. Modes
    are those that :meth:`~koopstep.operators.base.Operator.rates` groups, or pairs of channels; a mean over levels.
    """
    progress = run.batch.progress[run.learned]
    levels = []
    for operator, latent in zip(run.student.operators, run.noise_latent, strict=True):
        rates = operator.rates()
        if rates is None:
            continue
        size = run.student.codec.state_size(progress).to(latent)
        parts = [operator.evolve(latent, float(u)).square().mean(dim=0) for u in progress]
        half = torch.stack([part[: len(part) // 2] / size[k] ** 2 for k, part in enumerate(parts)]).mean(dim=0)
        mode = torch.arange(len(half), device=half.device) if rates.mode is None else rates.mode.flatten()
        energy = half.new_zeros(int(mode.max()) + 1).index_add(
            0, mode, half.flatten(1).mean(dim=1) if half.ndim > 1 else half
        )
        levels.append((energy + 1e-8).sqrt().sum())
    return torch.stack(levels).mean() if levels else run.predicted.new_zeros(())


def apart(run: Pass) -> Tensor:
    """How near the rates of different modes are: two modes of one rate are one mode in two halves."""
    return torch.stack([operator.closeness() for operator in run.student.operators]).mean()


def _relative(run: Pass, read: Tensor, places: Tensor) -> Tensor:
    """Mean squared errors (N,) of states ``read`` (N, B, *shape), each in units of the states' mean square there."""
    size = run.student.codec.state_size(run.batch.progress[places]).to(read.dtype)
    return (read - run.batch.states[places]).square().flatten(1).mean(dim=1) / size.square()
