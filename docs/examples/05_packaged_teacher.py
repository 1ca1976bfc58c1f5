"""A teacher that comes with the package: what it is, and how its samples depend on the number of steps."""

import koopstep as ks

teacher = ks.load_teacher("checkerboard-edm")
print(teacher)
print(f"it learned from: {teacher.training_data.name}")

finest = teacher.sample(2_000, seed=0, steps=40)
for steps in (3, 6, 12, 24):
    samples = teacher.sample(2_000, seed=0, steps=steps)  # from the same noise
    away = (samples - finest).square().mean()
    print(f"{steps:3d} steps, {teacher.evaluations(steps):3d} evaluations: {away:.1e} from 40 steps, mean squared")
