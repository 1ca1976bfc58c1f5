"""A plain PyTorch loop in place of `koopstep.train`: the student is a module, a store hands out batches."""

import numpy as np
import torch

import koopstep as ks

teacher = ks.mixture_teacher(torch.tensor([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]]), spread=0.2)
store = ks.collect(teacher, "paths", count=4_000)

network = ks.MLPConfig(width=64, depth=3)
config = ks.KDMConfig(encoder=network, decoder=network, operator=ks.SpectralConfig(), latent=16)
student = ks.Student.build(config, store, seed=0)
print(student)

optimizer = torch.optim.Adam(student.model.parameters(), lr=3e-3)
rows, order = store.training_rows(), np.random.default_rng(0)
for step in range(400):
    batch = store.batch(order.choice(rows, 256))  # .noise (B, 2), .states (2, B, 2), .data (B, 2)
    loss = (student.model.generate(batch.noise) - batch.data).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        print(f"step {step}: {loss:.4f}")

held_out = store.batch(store.held_out_rows())
error = (student.generate(held_out.noise) - held_out.data).square().mean()
print(f"mean squared error on noise it never saw: {error:.4f}")
