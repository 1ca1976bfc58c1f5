"""The perceptual distance over a stand-in network: one look at the target, pixels beside it, what cannot be looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from koopstep.core.errors import UsageError
from koopstep.core.records import Batch
from koopstep.features.lpips import find_lpips
from koopstep.losses.config import ObjectiveConfig
from koopstep.losses.distances import mse
from koopstep.losses.objective import build_objective, objective_for
from koopstep.losses.perceptual import InRange, check_images, perceptual
from koopstep.nets.unet import UNetConfig
from koopstep.operators.dense import DenseConfig
from koopstep.students.kdm import KDMConfig, build_kdm
from koopstep.students.student import DataFacts

CPU = torch.device("cpu")
UNET = UNetConfig(model_channels=4, channel_mult=(1, 2), channel_mult_emb=1, num_blocks=1, attention_resolutions=())
FACTS = DataFacts(shape=(3, 8, 8), num_classes=2, noise_scale=80.0)


class Eye(nn.Module):
    """Two frozen convolutions in the place of LPIPS; notes which batches it looked at and where it was put."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        self.requires_grad_(False)
        self.looked: list[Tensor] = []
        self.dtypes: list[torch.dtype] = []

    def features(self, x: Tensor) -> list[Tensor]:
        self.looked.append(x)
        first = self.first(x)
        return [first, self.second(first.relu())]

    def compare(self, features_a: list[Tensor], features_b: list[Tensor]) -> Tensor:
        self.dtypes += [part.dtype for part in (*features_a, *features_b)]
        parts = zip(features_a, features_b, strict=True)
        return torch.stack([(a - b).square().mean(dim=(1, 2, 3)) for a, b in parts]).sum(dim=0)


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)).double()


def by_hand(eye: Eye, prediction: Tensor, target: Tensor) -> Tensor:
    return eye.compare(eye.features(prediction), eye.features(target)).mean()


@pytest.mark.parametrize("pixel", [0.0, 0.3])
def test_it_is_lpips_and_a_share_of_squared_error(pixel: float) -> None:
    eye, target, prediction = Eye().double(), images(4), images(4, 1).requires_grad_()
    value = perceptual(eye, pixel)(prediction, target, {})
    torch.testing.assert_close(value, by_hand(eye, prediction, target) + pixel * mse(prediction, target))
    value.backward()
    assert prediction.grad is not None and bool(prediction.grad.any())
    assert all(p.grad is None for p in eye.parameters())
    assert float(perceptual(eye, pixel)(target, target, {})) == 0


def test_micro_batches_add_up() -> None:
    eye, target, prediction = Eye().double(), images(4), images(4, 1)
    halves = [perceptual(eye, 0.1)(prediction[part], target[part], {}) for part in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(torch.stack(halves).mean(), perceptual(eye, 0.1)(prediction, target, {}))


def test_features_are_compared_in_float32_under_autocast() -> None:
    eye, target, prediction = Eye(), images(4).float(), images(4, 1).float()
    with torch.autocast("cpu", torch.bfloat16):
        value = perceptual(eye, 0.5)(prediction, target, {})
    assert set(eye.dtypes) == {torch.float32} and value.dtype == torch.float32
    torch.testing.assert_close(value, perceptual(eye, 0.5)(prediction, target, {}), rtol=0.02, atol=0.02)


def test_the_target_is_looked_at_once_for_both_terms() -> None:
    torch.manual_seed(0)
    config = KDMConfig(encoder=UNET, decoder=UNET, operator=DenseConfig(), latent=64)
    student, eye = build_kdm(config, FACTS).double(), Eye().double()
    noise, data = images(3), images(3, 1)
    batch = Batch(noise, torch.stack([80 * noise, data]), torch.tensor([0.0, 1.0]), torch.tensor([0, 1, 1]))
    objective = build_objective(ObjectiveConfig(distance="perceptual"), network=eye)
    run = objective.run(student, batch, 0)
    terms = objective.terms(run)
    assert len(eye.looked) == 3  # the target, the reconstruction, the prediction
    assert sum(x is data or torch.equal(x, data) for x in eye.looked) == 1
    torch.testing.assert_close(terms["reconstruction"], by_hand(eye, run.reconstructed, data))
    torch.testing.assert_close(terms["prediction"], by_hand(eye, run.predicted, data))


def test_the_objective_asks_once_a_network_and_only_for_what_it_uses() -> None:
    asked: list[str] = []

    def find(name: str) -> Eye:
        asked.append(name)
        return Eye()

    objective_for(ObjectiveConfig(), FACTS, CPU, find)
    assert asked == []
    both = {"distance": "perceptual", "adversarial": 0.1, "discriminator": "features"}
    objective = objective_for(ObjectiveConfig.parse({**both, "perceptual_net": "squeeze"}, "o"), FACTS, CPU, find)
    assert asked == ["squeeze"]
    objective_for(ObjectiveConfig.parse({**both, "perceptual_net": "alex"}, "o"), FACTS, CPU, find)
    assert asked == ["squeeze", "squeeze", "alex"]
    assert objective.discriminator is not None
    names = [name for name, _ in objective.discriminator.named_parameters()]
    assert names and not any("first" in name or "second" in name for name in names)  # nothing of the frozen network


def test_discriminators_by_name() -> None:
    for kind, parts in (("conv", "ConvDiscriminator"), ("multiscale", "MultiscaleDiscriminator")):
        settings = ObjectiveConfig.parse({"adversarial": 0.1, "discriminator": kind}, "objective")
        discriminator = objective_for(settings, FACTS, CPU, lambda name: Eye()).discriminator
        assert type(discriminator).__name__ == parts


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2,), r"the distance 'perceptual' is for images of one or three planes, this data has shape \(2,\)"),
        ((4, 8, 8), r"of one or three planes, this data has shape \(4, 8, 8\)"),
        ((3, 3, 3), r"cannot look at images of shape \(3, 3, 3\): .*[Kk]ernel size"),
    ],
)
def test_what_cannot_be_looked_at_is_named(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        check_images(Eye(), DataFacts(shape=shape), CPU, "the distance 'perceptual'")
    assert "\n" not in str(caught.value)
    facts = DataFacts(shape=shape)
    with pytest.raises(UsageError, match=words):
        objective_for(ObjectiveConfig(distance="perceptual"), facts, CPU, lambda name: Eye())


def test_the_discriminator_of_features_says_the_same_of_itself() -> None:
    settings = ObjectiveConfig(adversarial=0.1, discriminator="features")
    with pytest.raises(UsageError, match="the discriminator 'features' is for images"):
        objective_for(settings, DataFacts(shape=(2,)), CPU, lambda name: Eye())


def test_missing_weights_are_the_finder_s_to_name() -> None:
    def find(name: str) -> Eye:
        raise UsageError(f"no weights of {name}")

    with pytest.raises(UsageError, match="no weights of vgg"):
        objective_for(ObjectiveConfig(distance="perceptual"), FACTS, CPU, find)


@pytest.mark.shared
def test_lpips_itself_draws_images_to_their_target(shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOOPSTEP_WEIGHTS", str(shared_folder / "weights"))
    facts = DataFacts(shape=(3, 32, 32))
    settings = ObjectiveConfig(
        distance="perceptual", perceptual_net="squeeze", adversarial=0.1, discriminator="features"
    )
    objective = objective_for(settings, facts, CPU, find_lpips)
    target = nn.functional.interpolate(images(4).float(), 32, mode="bilinear").clamp(-1, 1)
    for autocast in (False, True):
        x = torch.zeros_like(target).requires_grad_()  # flat, as what a fresh decoder makes
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            towards, known = objective.distance(), dict[str, Any]()
            assert float(towards(target, target, known)) == 0
            before = towards(x, target, known)
        before.backward()
        assert x.grad is not None and bool(torch.isfinite(x.grad).all())
        after = towards(x.detach() - 0.1 * x.grad / x.grad.abs().mean(), target, known)
        assert float(after) < 0.97 * float(before.detach())
    assert objective.discriminator is not None
    assert sum(p.numel() for p in objective.discriminator.parameters()) < 2_000_000  # heads only
    assert objective.discriminator(target).shape == (4, 7 * 16)
    with pytest.raises(UsageError, match=r"LPIPS .squeeze. cannot look at images this small"):
        objective_for(settings, DataFacts(shape=(3, 8, 8)), CPU, find_lpips)
    with pytest.raises(UsageError, match=r"no backbone of LPIPS \(vgg\) in .*KOOPSTEP_WEIGHTS"):
        objective_for(ObjectiveConfig(distance="perceptual"), facts, CPU, find_lpips)


def test_images_of_another_range_are_looked_at_as_their_twins() -> None:
    network = Eye()
    a, b = (torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    plain = perceptual(network)(2 * b - 1, 2 * a - 1, {})
    torch.testing.assert_close(perceptual(InRange(network, (0.0, 1.0)))(b, a, {}), plain)
    torch.testing.assert_close(perceptual(InRange(network, (0.0, 255.0)))(255 * b, 255 * a, {}), plain)
