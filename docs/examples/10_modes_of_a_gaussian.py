"""Where the whole spectrum is known: the Koopman modes of a Gaussian's path, analytic and learned.

On noise levels that suit one variance v the state decays to the mean with the one rate ln(v / (v + sigma_max^2)) / 2, and the
mode is the state less the mean (docs/concepts.md). The student is given none of this: it learns from paths.
"""

import math

import torch

import koopstep as ks

mean, variance, sigma_max = torch.tensor([1.0, -0.5, 0.3]), 0.5, 10.0
rate = 0.5 * math.log(variance / (variance + sigma_max**2))
teacher = ks.gaussian_teacher(mean, variance * torch.eye(3), sigma_max=sigma_max, solver="exact", spacing="exponential")
store = ks.collect(teacher, "gaussian", count=8_192, steps=12, keep="all")

network = ks.MLPConfig(width=32, depth=2)
student = ks.ModesConfig(network=network, operator=ks.ModesOperatorConfig(modes=0), within=False)
objective = ks.ObjectiveConfig(reconstruction=0.0, latent=0.0, prediction=1.0, states=1.0)
training = ks.TrainingConfig(
    steps=600, batch_size=256, learning_rate=3e-2, schedule="cosine", ema_halflife_images=2000.0
)
run = ks.train(ks.Recipe.for_store(store, student=student, objective=objective, training=training), store, "run")

noise = run.student.noise(1000, seed=7)
modes = run.student.modes(noise)  # the constant and the remainder, which is the one mode here
found = float(modes.growth_rates[0, 1])
print(f"gauge: {run.student.spectrum()[0].gauge}")
print(f"rate: analytic {rate:.4f}, learned {found:.4f}, off by {abs(found / rate - 1):.2%}")

start = sigma_max * noise
for number, known in enumerate((mean.expand(1000, 3), start - mean)):
    picture = modes.images[:, number]
    print(f"{modes.names[number]}: off by {float((picture - known).norm() / known.norm()):.2%}")

u = torch.linspace(0, 1, 5)
path = run.student.path(noise, u)  # (5, 1000, 3) from one evaluation
known = mean + (rate * u).exp()[:, None, None] * (start - mean)
missed = (path - known).square().mean(dim=(1, 2)) / known.var(dim=1).mean(dim=1)
print("unexplained at u = 0, 1/4, ... 1:", ", ".join(f"{float(one) ** 0.5:.2%}" for one in missed))
