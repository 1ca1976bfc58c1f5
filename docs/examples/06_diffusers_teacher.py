"""A diffusers pipeline becomes a teacher, in memory and from its folder. Needs the extra: pip install "koopstep[diffusers]".

The pipeline here is tiny and trained for a few seconds. Yours comes from `from_pretrained` or lies in a folder.
"""

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor

import koopstep as ks


def bars(count: int) -> Tensor:
    """Grey images (count, 1, 8, 8) in [-1, 1]: one bright column in the dark, its place by chance."""
    return 2 * torch.eye(8)[torch.randint(8, (count,))][:, None, None].expand(-1, 1, 8, -1) - 1


# --- somebody else's model and training -------------------------------------------------------------------------
torch.manual_seed(0)
blocks = {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2, "block_out_channels": [16, 32]}
unet = UNet2DModel(sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=8, **blocks)
scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
optimizer = torch.optim.Adam(unet.parameters(), lr=2e-3)
for _ in range(150):
    data, timestep = bars(32), torch.randint(1000, (32,))
    noise = torch.randn_like(data)
    told = unet(scheduler.add_noise(data, noise, timestep), timestep).sample
    loss = (told - scheduler.get_velocity(data, noise, timestep)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
pipeline = DDPMPipeline(unet, scheduler)

# --- in memory: one call ----------------------------------------------------------------------------------------
for solver in ("heun", "ddim"):
    teacher = ks.from_diffusers(pipeline, solver=solver, data_scale=0.66)
    pictures = teacher.sample(80, seed=0, steps=18)
    off = (pictures.clamp(-1, 1).abs() - 1).abs().mean()
    columns = pictures.mean(dim=2).argmax(dim=-1).flatten().bincount(minlength=8).tolist()
    print(f"{solver}: {teacher.evaluations(18)} evaluations, pixels {off:.2f} from black or white, columns {columns}")

# --- from its folder: read as data, nothing in it is executed; `koopstep collect pipeline ...` does the same ---------
pipeline.save_pretrained("pipeline")
teacher = ks.load_teacher("pipeline")
print(teacher)
print(ks.collect(teacher, "paths", count=100))
print("next: koopstep train digits --data paths --out run -o initialise=fresh")
