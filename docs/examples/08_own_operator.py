"""An operator, a network and a method of one's own, registered by name."""

import torch

import koopstep as ks


@ks.register_operator("decay")
class Decay(ks.Operator):
    """Every number of the latent decays at a rate of its own: z(u) = exp(rate u) z. The setting is where rates start."""

    def __init__(self, shape, generator, *, start: float = -0.5):
        super().__init__(shape, continuous=True)
        self.rate = torch.nn.Parameter(start + 0.01 * torch.randn(self.dimension, generator=generator))

    def matrix(self, du=1.0):
        return torch.diag(torch.exp(du * self.rate))

    def _move(self, latent, step, condition):
        du = torch.as_tensor(step, dtype=latent.dtype, device=latent.device).reshape(-1, 1)
        return (latent.flatten(1) * torch.exp(du * self.rate)).reshape(latent.shape)


@ks.register_network("wave")
class Wave(torch.nn.Module):
    """Two layers with a sine between them. This one needs neither the noise label nor the class."""

    def __init__(self, shape, outputs, num_classes, *, width: int = 64):
        super().__init__()
        self.inner, self.outer = torch.nn.Linear(shape[0], width), torch.nn.Linear(width, outputs)

    def forward(self, x, noise_labels, class_labels=None):
        return self.outer(torch.sin(3 * self.inner(x)))


student = {"operator": {"kind": "decay", "start": -1.0}, "encoder": {"kind": "wave", "width": 128}}
ks.register_method("waves", about="KDM whose latent decays", extends="kdm", settings={"student": student})

store = ks.collect("checkerboard-edm", "paths", count=1_000, steps=9, quiet=True)
small = ["training.steps=60", "training.batch_size=128"]
run = ks.train("checkerboard", store, "run", method="waves", changes=small, quiet=True)
print("samples", tuple(run.student.sample(16, seed=0).shape))
print("slowest decay", float(run.student.spectrum()[0].eigenvalues.abs().max().log()))
# In another process or on the command line, what registers it is imported first: koopstep sample run --import my_module ...
