"""Feature networks: LPIPS against its published behaviour, Inception and ResNet by shape, by hand and on real weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from koopstep.core.errors import DamagedError, UsageError
from koopstep.core.tensors import save_tensors
from koopstep.features.inception import Inception, folded, published_names
from koopstep.features.lpips import LPIPS, LPIPSName, build_lpips, find_lpips
from koopstep.features.networks import load_network
from koopstep.features.resnet import CifarResNet


def picture(seed: int, size: int = 64, count: int = 2) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("net", ["squeeze", "vgg", "alex"])
def test_lpips_is_symmetric_zero_for_equals_and_has_gradients(net: LPIPSName) -> None:
    torch.manual_seed(0)
    network = LPIPS(net)
    a, b = picture(0), picture(1).requires_grad_()
    distance = network(a, b)
    assert distance.shape == (2,) and bool((distance > 0).all())
    torch.testing.assert_close(distance, network(b, a))
    assert float(network(a, a).abs().max()) == 0
    distance.sum().backward()
    assert b.grad is not None and bool(b.grad.any())
    assert not any(p.requires_grad for p in network.parameters()) and not network.train().training


def test_lpips_is_the_formula_written_out() -> None:
    torch.manual_seed(0)
    network = LPIPS("alex").double()
    a, b = picture(0).double(), picture(1).double()
    shift = torch.tensor([-0.030, -0.088, -0.188]).double().view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).double().view(1, 3, 1, 1)
    total = torch.zeros(2).double()
    xs = [(a - shift.float().double()) / scale.float().double(), (b - shift.float().double()) / scale.float().double()]
    head = iter(network.heads)
    for index, layer in enumerate(network.backbone):
        xs = [layer(x) for x in xs]
        if index in (1, 4, 7, 9, 11):
            unit = [x / (x.norm(dim=1, keepdim=True) + 1e-10) for x in xs]
            weights = next(head)
            total += torch.einsum("bchw,c->b", (unit[0] - unit[1]) ** 2, weights) / unit[0][0, 0].numel()
    torch.testing.assert_close(network(a, b), total)


def test_lpips_looks_at_grey_and_says_what_it_cannot_see() -> None:
    network = LPIPS("squeeze")
    grey = picture(0)[:, :1]
    assert torch.equal(network.features(grey)[0], network.features(grey.expand(-1, 3, -1, -1))[0])
    with pytest.raises(UsageError, match="grey or RGB"):
        network.features(torch.zeros(1, 2, 64, 64))
    with pytest.raises(UsageError, match="this small"):
        LPIPS("alex").features(torch.zeros(1, 3, 8, 8))


def test_lpips_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    network = LPIPS("squeeze")
    save_tensors(tmp_path / "b.safetensors", network.backbone.state_dict())
    save_tensors(
        tmp_path / "h.safetensors", {f"lin{i}.model.1.weight": h.view(1, -1, 1, 1) for i, h in enumerate(network.heads)}
    )
    again = build_lpips("squeeze", tmp_path / "b.safetensors", tmp_path / "h.safetensors")
    assert torch.equal(again(picture(0), picture(1)), network(picture(0), picture(1))) and len(again.sha256) == 64
    with pytest.raises(DamagedError, match="backbone 'vgg'"):
        build_lpips("vgg", tmp_path / "b.safetensors", tmp_path / "h.safetensors")


def test_inception_folds_the_published_names_into_its_own() -> None:
    torch.manual_seed(0)
    network = Inception(head=True).eval()
    names = published_names()
    assert sorted(names.values()) == sorted(network.convolutions) and len(names) == 94
    theirs: dict[str, Tensor] = {"fc.weight": torch.randn(1008, 2048) / 50, "fc.bias": torch.randn(1008)}
    for published, ours in names.items():
        kernel = network.convolutions[ours].weight
        theirs[f"{published}.conv.weight"] = torch.randn_like(kernel) / kernel[0].numel() ** 0.5
        for part, least in (("weight", 0.5), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 0.5)):
            theirs[f"{published}.bn.{part}"] = torch.rand(len(kernel)) + least
    network.load_state_dict(folded(theirs))
    x = torch.randn(1, 3, 80, 80)
    first = functional.conv2d(x, theirs["Conv2d_1a_3x3.conv.weight"], stride=2)
    norm = [theirs[f"Conv2d_1a_3x3.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    by_hand = functional.batch_norm(first, *norm, eps=1e-3).relu()
    torch.testing.assert_close(network.convolutions["conv"](x).relu(), by_hand, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        features, logits = network(x)
    assert features.shape == (1, 2048) and logits.shape == (1, 1008)
    torch.testing.assert_close(logits, features @ theirs["fc.weight"].T)


def test_resnet_has_56_layers_and_the_published_number_of_weights() -> None:
    network = CifarResNet().eval()
    assert sum(p.numel() for p in network.parameters()) == 853_018
    features, logits = network(torch.rand(2, 3, 32, 32))
    assert features.shape == (2, 64) and logits.shape == (2, 10)


@pytest.mark.shared
def test_lpips_gives_the_published_number(shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOOPSTEP_WEIGHTS", str(shared_folder / "weights"))
    network = find_lpips("squeeze")
    torch.manual_seed(123)
    a, b = torch.rand(10, 3, 100, 100) * 2 - 1, torch.rand(10, 3, 100, 100) * 2 - 1
    assert float(network(a, b).mean()) == pytest.approx(0.1008, abs=5e-5)
    clean = functional.avg_pool2d(picture(0, 128), 4)
    near, far = (clean + s * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1)) for s in (0.1, 0.5))
    assert float(network(clean, near).mean()) < float(network(clean, far).mean())


@pytest.mark.shared
def test_the_networks_know_cifar(shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOOPSTEP_WEIGHTS", str(shared_folder / "weights"))
    monkeypatch.setenv("KOOPSTEP_DATA", str(shared_folder / "data"))
    from koopstep.data.sources import load_source

    images, labels = load_source("cifar10-test").reference(200)
    assert labels is not None
    seen = load_network("resnet56")(images)
    assert seen.logits is not None and float((seen.logits.argmax(dim=1) == labels).float().mean()) > 0.9
    inception = load_network("inception-768")
    vectors = inception(images[:4]).vectors
    assert vectors.shape == (4, 768) and bool((vectors >= 0).all()) and 0.02 < float(vectors.mean()) < 0.2
    flipped = inception(images[:4].flip(3)).vectors
    noise = inception(torch.rand(4, 3, 32, 32) * 2 - 1).vectors
    assert float((vectors - flipped).norm()) < float((vectors - noise).norm())
