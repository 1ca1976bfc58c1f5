"""Image students against the stronger adversaries, through LPIPS's place: they train, stop, go on, and keep what is theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_way import generated, tiny_recipe, tiny_store, train_tiny
from torch import Tensor, nn

from koopstep.core.config import dump, override
from koopstep.core.errors import Interrupted, UsageError
from koopstep.core.tensors import load_tensors
from koopstep.data.importers import import_source
from koopstep.recipes.recipe import Recipe
from koopstep.runs import task as workflow

UNET = {
    "kind": "unet",
    "model_channels": 4,
    "channel_mult": [1],
    "channel_mult_emb": 1,
    "num_blocks": 1,
    "attention_resolutions": [],
}
BOTH = ["objective.distance=perceptual", "objective.pixel=0.5", "objective.discriminator=features"]


class Eye(nn.Module):
    """In the place of LPIPS."""

    sha256 = "of an eye"

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, padding=1)
        self.layer.weight.data = torch.linspace(-1, 1, 108).view(4, 3, 3, 3)
        self.requires_grad_(False)

    def features(self, x: Tensor) -> list[Tensor]:
        return [self.layer(x)]

    def compare(self, features_a: list[Tensor], features_b: list[Tensor]) -> Tensor:
        return (features_a[0] - features_b[0]).square().flatten(1).mean(dim=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of noise and its softened self, as images of 8 x 8."""
    folder = tmp_path_factory.mktemp("images")
    noise = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    data = nn.functional.avg_pool2d(noise, 3, 1, 1)
    np.save(folder / "pairs.npy", torch.stack([noise, data]).numpy())
    import_source(folder / "pairs.npy", folder / "store", hold_out=8)
    return folder / "store"


def image_recipe(*changes: str) -> Recipe:
    settings = dump(tiny_recipe())
    settings["teacher"]["model"] = {"kind": "flow", "shape": [3, 8, 8], "network": UNET}
    settings["student"] |= {"encoder": UNET, "decoder": UNET, "latent": 64}
    settings["objective"] |= {"adversarial": 0.05}
    return Recipe.parse(override(settings, [*changes, "training.checkpoint_every=1", "training.steps=4"]), "images")


@pytest.mark.parametrize(
    "changes",
    [
        ["objective.adversarial_loss=hinge", "objective.discriminator=multiscale"],
        ["objective.adversarial_loss=relativistic", "objective.r1=0.1", "objective.r2=0.1"],
        [*BOTH, "objective.adversarial_loss=relativistic", "objective.r1=0.1"],
    ],
    ids=["hinge", "relativistic", "features"],
)
def test_stopped_and_gone_on_with_is_the_same_to_the_bit(
    tmp_path: Path, store: Path, changes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "_find_network", lambda name: Eye())
    recipe = image_recipe(*changes)
    train_tiny(recipe, store, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train_tiny(recipe, store, tmp_path / "cut", stop_after=2)
    train_tiny(recipe, store, tmp_path / "cut", resume=True)
    assert torch.equal(generated(tmp_path / "whole", store), generated(tmp_path / "cut", store))
    last = [tmp_path / run / "checkpoints" / "step-00000004" / "discriminator.safetensors" for run in ("whole", "cut")]
    whole, cut = (load_tensors(path)[0] for path in last)
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)
    assert not any("layer" in name for name in whole)  # nothing of the frozen network


def test_the_adversarial_loss_is_part_of_what_a_run_depends_on(tmp_path: Path, store: Path) -> None:
    with pytest.raises(Interrupted):
        train_tiny(image_recipe(), store, tmp_path / "run", stop_after=2)
    with pytest.raises(UsageError, match=r"objective\.adversarial_loss was .*nonsaturating.*, is now .*hinge"):
        train_tiny(image_recipe("objective.adversarial_loss=hinge"), store, tmp_path / "run", resume=True)


def test_vectors_have_no_such_discriminator(tmp_path: Path) -> None:
    paths = tiny_store(tmp_path / "store")
    for change, words in (
        ("objective.discriminator=multiscale", "the discriminator 'multiscale' is for images"),
        ("objective.distance=perceptual", "is for images of one or three planes"),
    ):
        recipe = tiny_recipe(change, "objective.adversarial=0.1")
        with pytest.MonkeyPatch.context() as patch, pytest.raises(UsageError, match=words):
            patch.setattr(workflow, "_find_network", lambda name: Eye())
            train_tiny(recipe, paths, tmp_path / "run")
        assert not (tmp_path / "run").exists()  # refused before anything is written
