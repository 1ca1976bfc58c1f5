"""One step of an HKD student against one evaluation of the same U-Net, in turns; sizes of the operators; prints JSON.

python benchmarks/one_step_cost.py
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

from koopstep.core.levels import karras_sigmas
from koopstep.nets.preconditioning import EDMDenoiser
from koopstep.nets.unet import UNetConfig
from koopstep.operators.block import BlockConfig
from koopstep.recipes.recipe import load_recipe
from koopstep.students.hkd import HKDConfig, build_hkd
from koopstep.students.student import DataFacts, KoopmanStudent

ROUNDS = 15
GRID = tuple(karras_sigmas(18).tolist())
PROGRESS = tuple(index / 18 for index in range(19))
NETWORKS = {
    "digits, batch 64": (load_recipe("digits", "hkd").teacher.model.network, (1, 8, 8), 64),
    "mnist, batch 16": (load_recipe("mnist", "hkd").teacher.model.network, (1, 32, 32), 16),
    "cifar10 (55.7 M), batch 2": (UNetConfig(), (3, 32, 32), 2),
}


def facts(shape: tuple[int, ...]) -> DataFacts:
    """Of EDM's paths."""
    return DataFacts(shape=shape, noise_scale=80.0, progress=PROGRESS, levels=GRID)


def student_of(network: UNetConfig, shape: tuple[int, ...], **operator: object) -> KoopmanStudent:
    """With rates that are not zero."""
    student = build_hkd(HKDConfig(network=network, operator=BlockConfig.parse(operator, "operator")), facts(shape))
    for part in student.operators.parameters():
        torch.nn.init.normal_(part, std=0.1)
    return student.eval().requires_grad_(False)


def ratio(ours: Callable[[], object], theirs: Callable[[], object]) -> float:
    """Median over rounds of the quotient of two times taken one after the other."""
    quotients = []
    for _ in range(ROUNDS + 1):
        times = []
        for call in (ours, theirs):
            started = time.process_time()
            call()
            times.append(time.process_time() - started)
        quotients.append(times[0] / times[1])
    return statistics.median(quotients[1:])


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    result: dict[str, dict[str, float]] = {"cost": {}, "rates at 64 x 64": {}}
    with torch.no_grad():
        for name, (network, shape, batch) in NETWORKS.items():
            noise, sigma = torch.randn(batch, *shape), torch.full((batch,), 80.0)
            plain = student_of(network, shape)
            state = student_of(network, shape, modulation="local")
            teacher = EDMDenoiser(plain.codec.decoder_network(), 0.5)
            inputs = noise, noise * 80, sigma
            for told, student in (("", plain), (", rates of the state", state)):
                result["cost"][name + told] = ratio(
                    partial(student.generate, inputs[0]), partial(teacher, inputs[1], inputs[2])
                )
        for sharing in ("position", "low_rank", "channel"):
            with torch.device("meta"):
                large = build_hkd(
                    HKDConfig(
                        network=UNetConfig(channel_mult=(1, 2, 2, 2)),
                        operator=BlockConfig.parse({"sharing": sharing}, "operator"),
                    ),
                    facts((3, 64, 64)),
                )
            numbers = sum(part.numel() for part in large.operators.parameters())
            result["rates at 64 x 64"][f"{sharing}, MB in float32"] = numbers * 4 / 1e6
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
