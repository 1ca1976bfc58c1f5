"""A network that koopstep has never seen becomes a teacher, and its paths are stored.

The network here is a small flow-matching model of a ring, trained for a few seconds. Yours comes from anywhere: what
counts is a function of (x, t, class_labels) that returns the velocity.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from koopstep import CollectSettings, TrajectoryStore, collect, from_velocity


def ring(count: int) -> Tensor:
    """Points near a circle of radius 2, (count, 2)."""
    angle, radius = torch.rand(count) * 2 * torch.pi, 2 + 0.1 * torch.randn(count)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)


# --- somebody else's model and training -------------------------------------------------------------------------
torch.manual_seed(0)
network = nn.Sequential(nn.Linear(3, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 2))
optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
for _ in range(800):
    data, noise, t = ring(256), torch.randn(256, 2), torch.rand(256, 1)
    predicted = network(torch.cat([(1 - t) * noise + t * data, t], dim=1))
    loss = (predicted - (data - noise)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


# --- the teacher: a function and one call -----------------------------------------------------------------------
def velocity(x: Tensor, t: Tensor, class_labels: Tensor | None) -> Tensor:
    return network(torch.cat([x, t[:, None]], dim=1))


teacher = from_velocity(velocity, shape=(2,), data_scale=2**0.5, solver="midpoint", name="ring")

# --- its paths --------------------------------------------------------------------------------------------------
settings = CollectSettings(count=10_000, steps=10)
for report in collect(teacher, Path("ring-paths"), settings):
    print(f"{report.done} of {report.total} paths stored")

store = TrajectoryStore.open("ring-paths")
ends = store.batch(store.held_out_rows()).data
error = (ends.norm(dim=1) - 2).abs().median()
print(f"{teacher.evaluations(10)} network evaluations a path; median distance of the ends to the circle: {error:.3f}")
print("train a student on them: koopstep train checkerboard-fm --data ring-paths --out ring-run")
