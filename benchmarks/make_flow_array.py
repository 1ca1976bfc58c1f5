"""Write flow_paths.npy: float32 (10, 50000, 2), ten states of flow-matching paths on the checkerboard.

The shape is that of the array in the published KDM repository; the paths are those of the packaged teacher. It is what
`docs/lab/results.md` imports (section B).
"""

from __future__ import annotations

import numpy as np
import torch

from koopstep import load_teacher
from koopstep.core.noise import gaussian

teacher = load_teacher("checkerboard-fm").teacher
parts = [teacher.path(gaussian(77, range(i, i + 2500), (2,)), steps=9) for i in range(0, 50_000, 2500)]
paths = torch.cat(parts, dim=1)
np.save("flow_paths.npy", paths.numpy())
print("flow_paths.npy", tuple(paths.shape))
