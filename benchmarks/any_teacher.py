"""`distil` from any teacher: does the plan hold for teachers that are files, do students of functions follow their noise?

    python benchmarks/any_teacher.py files        # an EDM pickle, a diffusers folder, a state dict: planned and taken
    python benchmarks/any_teacher.py functions    # own functions of several shapes: pair MSE against permuted pairs

The teachers that are files have random weights (what a path costs does not depend on them), but for the state dict, which is
the packaged digits teacher. Every file goes through the command as a user would call it. Needs the extra `diffusers`.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import yaml
from torch import Tensor

import koopstep as ks

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "teachers"))
import edm_pickles

from koopstep.core.config import dump
from koopstep.teachers.edm import EDMConfig, build_edm
from koopstep.teachers.files import read_teacher_file

BUDGET = "2m"
SHAPES = [(2,), (16,), (64,), (512,), (1, 8, 8), (4, 8, 8), (1, 28, 28), (3, 16, 16), (1, 9, 9)]


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Teachers as strangers have them."""
    torch.manual_seed(0)
    yield "EDM pickle, 3 x 16 x 16", _edm_pickle(folder / "network-snapshot.pkl")
    yield "diffusers folder, 3 x 16 x 16", _pipeline(folder / "pipeline")
    packaged = read_teacher_file("digits-edm")
    torch.save(packaged.model.state_dict(), folder / "weights.pt")
    (folder / "weights.yaml").write_text(yaml.safe_dump(dump(packaged.header.config, complete=True)), encoding="utf-8")
    yield "state dict and its config, 1 x 8 x 8", folder / "weights.pt"


def _edm_pickle(path: Path) -> Path:
    shape = {"model_channels": 32, "channel_mult": [1, 2], "channel_mult_emb": 2, "num_blocks": 1}
    config = EDMConfig.parse({"shape": [3, 16, 16], "network": {"kind": "unet", **shape}}, "teacher")
    weights = edm_pickles.with_filters(build_edm(config).state_dict())
    arguments = {"img_resolution": 16, "img_channels": 3, "label_dim": 0, **shape}
    path.write_bytes(edm_pickles.pickle_network("EDMPrecond", "SongUNet", arguments, weights))
    return path


def _pipeline(folder: Path) -> Path:
    from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

    blocks = {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
    unet = UNet2DModel(sample_size=16, layers_per_block=1, norm_num_groups=8, block_out_channels=[32, 64], **blocks)
    DDIMPipeline(unet, DDIMScheduler()).save_pretrained(folder)
    return folder


def distil_files(folder: Path) -> None:
    """Print what was planned and what it took."""
    print(f"| teacher, `--budget {BUDGET}` | planned | taken | ratio |\n|---|---|---|---|")
    for name, teacher in files(folder):
        words = ["distil", str(teacher), "--budget", BUDGET, "--out", str(folder / f"run-{teacher.stem}"), "--json"]
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "koopstep", *words], capture_output=True, text=True, check=False)
        taken = time.perf_counter() - started
        if done.returncode:
            sys.exit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
        planned = json.loads(done.stdout.splitlines()[-1])["plan"]["seconds"]
        print(f"| {name} | {planned:.0f} s | {taken:.0f} s | {taken / planned:.2f} |", flush=True)


def mixture(shape: tuple[int, ...], spread: float = 0.15) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """The exact denoiser of three Gaussians."""
    means = 0.7 * torch.randn(3, math.prod(shape), generator=torch.Generator().manual_seed(0))

    def denoiser(x: Tensor, sigma: Tensor, class_labels: Tensor | None) -> Tensor:
        flat, variance = x.flatten(1), (sigma**2 + spread**2)[:, None]
        shares = (-(flat[:, None] - means).square().sum(2) / (2 * variance)).softmax(1)
        mean = shares @ means
        return (mean + spread**2 / variance * (flat - mean)).view_as(x)

    return denoiser


def distil_functions(folder: Path) -> None:
    """Print how students of functions follow their noise, by the method that is chosen for them."""
    print("| shape | method | paths | steps | pair MSE | permuted | seconds |\n|---|---|---|---|---|---|---|")
    for shape in SHAPES:
        images = len(shape) == 3 and shape[0] != 4
        teacher = ks.from_denoiser(
            mixture(shape), shape, sigma_max=20.0, data_scale=0.7, data_range=(-2.0, 2.0) if images else None
        )
        started, out = time.perf_counter(), folder / "x".join(map(str, shape))
        run = ks.distil(teacher, out, budget="3m" if shape[0] == 3 or shape[-1] % 2 else "45s", quiet=True)
        scores, recipe = run.evaluation.metrics, run.recipe
        print(
            f"| {shape} | {recipe.method} | {recipe.collect.count:,} | {recipe.training.steps:,} | {scores['pair_mse']:.4f} | "
            f"{scores['pair_mse_permuted']:.4f} | {time.perf_counter() - started:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        {"files": distil_files, "functions": distil_functions}[sys.argv[1]](Path(scratch))
