"""A teacher that comes with the package: what it is, and how its samples depend on the number of steps."""

from koopstep import load_teacher
from koopstep.core.noise import gaussian
from koopstep.data.checkerboard import CELLS
from koopstep.evaluation.scores import in_cell

teacher = load_teacher("checkerboard-edm")
print(teacher)
print(f"it learned from: {teacher.training_data.name}")

noise = gaussian(seed=0, indices=range(2_000), shape=teacher.shape)
finest = teacher.path(noise, steps=40)[-1]
for steps in (3, 6, 12, 24):
    path = teacher.path(noise, steps=steps)  # (steps + 1, 2000, 2); path[0] is the noise times sigma_max
    data = path[-1]
    away = (data - finest).square().mean()
    print(
        f"{steps:3d} steps, {teacher.evaluations(steps):3d} evaluations: {in_cell(data, CELLS):.1%} of the points in a filled "
        f"cell, mean squared distance to 40 steps {away:.1e}"
    )
