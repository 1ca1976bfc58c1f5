"""A network that koopstep has never seen becomes a teacher, and a student learns to take one step in place of twenty.

The network here is a small flow-matching model of a ring, trained for a few seconds. Yours comes from anywhere: what
counts is a function of (x, t, class_labels) that returns the velocity.
"""

import torch
from torch import Tensor, nn

import koopstep as ks


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


teacher = ks.from_velocity(velocity, shape=(2,), data_scale=2**0.5, solver="midpoint", name="ring")

# --- its paths, a student, what it is worth: real data are given to compare with -----------------------------------
run = ks.distil(teacher, "run", reference=ring(1_000), method="kdm", count=2_000, steps=60)
print(run.evaluation)
samples = run.student.sample(1_000, seed=0)
print(f"median distance to the circle: {(samples.norm(dim=1) - 2).abs().median():.3f}")
print(f"to look at: {run.folder}/report/index.html")
