"""Where eigenvalues mean something: on Gaussian data with linear observables they are known in closed form.

The path of a Gaussian shrinks its principal axis of variance v by sqrt(v / (v + sigma_max^2)), linearly. A student with
one linear encoder for both ends and a spectral operator has to find these numbers.
"""

import torch

import koopstep as ks

variances, sigma_max = torch.tensor([9.0, 2.0, 0.5]), 40.0
turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1))).Q
covariance = turn @ torch.diag(variances) @ turn.T
covariance = (covariance + covariance.T) / 2

teacher = ks.gaussian_teacher(torch.zeros(3), covariance, sigma_max=sigma_max)
store = ks.collect(teacher, "gaussian", count=8_192, steps=128)

linear, modes = ks.LinearConfig(), ks.SpectralConfig(real_modes=3, initial_rate=-3.0)
student = ks.KDMConfig(encoder=linear, decoder=linear, operator=modes, latent=3, tied=True)
training = ks.TrainingConfig(
    steps=1500, batch_size=256, learning_rate=2e-2, schedule="cosine", ema_halflife_images=2000.0
)
run = ks.train(ks.Recipe.for_store(store, student=student, training=training), store, "run")

(spectrum,) = run.student.spectrum()
exact = (variances / (variances + sigma_max**2)).sqrt()
found = torch.sort(spectrum.eigenvalues.real, descending=True).values
print(f"gauge: {spectrum.gauge}, by {spectrum.pinned_by}")
for known, learned in zip(exact.tolist(), found.tolist(), strict=True):
    print(f"analytic {known:.5f}   learned {learned:.5f}   off by {abs(learned / known - 1):.2%}")
