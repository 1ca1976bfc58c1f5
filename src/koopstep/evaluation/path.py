"""How well a student knows the states on the way, not the end alone."""

from __future__ import annotations

import torch
from torch import Tensor

from koopstep.evaluation.samples import Metric, Samples, given


def share(error: Tensor, state: Tensor) -> Tensor:
    """The root of the mean of ``error`` squared over the spread of ``state`` (B, *shape): a scalar."""
    spread = (state - state.mean(dim=0)).square().mean()
    return (error.square().mean() / spread.clamp(min=torch.finfo(state.dtype).tiny)).sqrt()


def path_unexplained(samples: Samples) -> float:
    """`PathErrors.within` of the student."""
    return given(samples.path, "path").within()


def path_unexplained_unseen(samples: Samples) -> float:
    """The same over the times that training left out."""
    return given(samples.unseen_path, "unseen_path").within(unseen_only=True)


def path_unexplained_end(samples: Samples) -> float:
    """The share of the end that the one-step sample misses."""
    return float(given(samples.path, "path").unexplained[-1])


PATH_METRICS: dict[str, Metric] = {
    "path_unexplained": Metric(
        path_unexplained,
        ("path",),
        "root mean square error of the states on the way, over what differs between rows there",
        "lower",
        "share",
    ),
    "path_unexplained_unseen": Metric(
        path_unexplained_unseen,
        ("unseen_path",),
        "the same at the times that training left out",
        "lower",
        "share",
    ),
    "path_unexplained_end": Metric(
        path_unexplained_end,
        ("path",),
        "the same of the end alone, which is the one-step sample",
        "lower",
        "share",
    ),
}
