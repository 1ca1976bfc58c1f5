"""Where eigenvalues mean something: on Gaussian data with linear observables they are known in closed form.

The path of a Gaussian shrinks its principal axis of variance v by sqrt(v / (v + sigma_max^2)), linearly. A student with
one linear encoder for both ends and a spectral operator has to find these numbers.
"""

from pathlib import Path

import torch

from koopstep import CollectSettings, TrajectoryStore, collect, gaussian_teacher
from koopstep.core.devices import prepare
from koopstep.losses.config import ObjectiveConfig
from koopstep.losses.objective import build_objective
from koopstep.nets.linear import LinearConfig
from koopstep.operators.spectral import SpectralConfig
from koopstep.students.kdm import KDMConfig, build_kdm
from koopstep.students.student import DataFacts
from koopstep.training.distillation import Distillation
from koopstep.training.loop import TrainingState, train
from koopstep.training.settings import TrainingConfig

variances, sigma_max = torch.tensor([9.0, 2.0, 0.5]), 4.0
turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1))).Q
covariance = turn @ torch.diag(variances) @ turn.T
covariance = (covariance + covariance.T) / 2

teacher = gaussian_teacher(torch.zeros(3), covariance, sigma_max=sigma_max)
for _ in collect(teacher, Path("gaussian"), CollectSettings(count=8_192, steps=128, dtype="float32")):
    pass
store = TrajectoryStore.open("gaussian")

place = prepare("cpu")
linear = LinearConfig()
modes = SpectralConfig(real_modes=3, initial_rate=-1.0)
facts = DataFacts.of(store.manifest)
student = build_kdm(KDMConfig(encoder=linear, decoder=linear, operator=modes, latent=3, tied=True), facts)

training = TrainingConfig(steps=1500, batch_size=256, learning_rate=2e-2, schedule="cosine", ema_halflife_images=2000.0)
task = Distillation(student, build_objective(ObjectiveConfig()), store, batch_size=256, seed=0, place=place)
state = TrainingState(task, training)
for _ in train(task, state, training, place):
    pass

(spectrum,) = state.average.model.spectrum()
exact = (variances / (variances + sigma_max**2)).sqrt()
found = torch.sort(spectrum.eigenvalues.real, descending=True).values
print(f"gauge: {spectrum.gauge}, by {spectrum.pinned_by}")
for known, learned in zip(exact.tolist(), found.tolist(), strict=True):
    print(f"analytic {known:.5f}   learned {learned:.5f}   off by {abs(learned / known - 1):.2%}")
