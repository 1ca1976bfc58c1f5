"""Feature networks: each set is looked at once, the reference is remembered on disk, weights that are not there are named."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from koopstep.core.environment import cache_folder
from koopstep.core.errors import UsageError
from koopstep.evaluation.feature_metrics import FEATURE_METRICS
from koopstep.evaluation.metrics import applicable, evaluate
from koopstep.evaluation.samples import Samples
from koopstep.features import extract as features
from koopstep.features.extract import Extractor
from koopstep.features.lpips import LPIPS
from koopstep.features.networks import FeatureNetwork


class Projection(nn.Module):
    """A fixed random projection in the place of Inception; counts the images it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = torch.randn(3 * 16 * 16, 6, generator=torch.Generator().manual_seed(0)) / 50
        self.seen = 0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.seen += len(x)
        vectors = x.flatten(1) @ self.matrix
        return vectors, vectors[:, :4]


class NoBar:
    def update(self, done: int, note: str = "") -> None:
        pass


@pytest.fixture
def projection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Projection:
    network = Projection()
    monkeypatch.setenv("KOOPSTEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KOOPSTEP_WEIGHTS", str(tmp_path / "weights"))

    def load(name: str, device: object = None, folder: Path | None = None) -> FeatureNetwork:
        return FeatureNetwork(name, "abc", "words", network, lambda images: images)

    monkeypatch.setattr(features, "load_network", load)
    return network


def extractor() -> Extractor:
    return Extractor(torch.device("cpu"), lambda title, total, unit: nullcontext(NoBar()))


def images(count: int, seed: int) -> Tensor:
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_each_set_is_looked_at_once_for_all_metrics(projection: Projection) -> None:
    samples = Samples(images(70, 0), reference=images(80, 1), extractor=extractor())
    names = ["fid_768", "kid_768", "precision_768", "recall_768", "density_768", "coverage_768", "nearness_768"]
    values = evaluate(samples, names)
    assert projection.seen == 150
    assert set(values) == set(names) and values["fid_768"] > 0 and 0 <= values["precision_768"] <= 1
    assert samples.extractor is not None and samples.extractor.digests() == {"inception-768": "abc"}


def test_a_set_against_itself_is_at_no_distance(projection: Projection) -> None:
    same = images(60, 0)
    assert evaluate(Samples(same, reference=same, extractor=extractor()), ["fid_768"])["fid_768"] < 1e-6


def test_the_reference_is_remembered_on_disk_and_a_broken_cache_is_made_again(projection: Projection) -> None:
    reference = images(30, 1)
    for expected in (30, 30):
        first = extractor()
        first.known.append((reference, "digest 30"))
        seen = first.look("inception-768", reference)
        assert projection.seen == expected
    (cached,) = (cache_folder() / "features").glob("*.safetensors")
    cached.write_bytes(b"broken")
    second = extractor()
    second.known.append((reference, "digest 30"))
    assert torch.equal(second.look("inception-768", reference).vectors, seen.vectors)
    assert projection.seen == 60
    other = extractor()
    other.known.append((reference, "another digest"))
    other.look("inception-768", reference)
    assert projection.seen == 90


def test_images_are_rounded_to_bytes_first(projection: Projection) -> None:
    network = features.load_network("inception-768")
    smooth = images(4, 0)
    rounded = ((smooth * 127.5 + 128).floor().clamp(0, 255) - 128) / 127.5 + 1e-4
    assert torch.equal(network(smooth * 1.0).vectors, network(rounded).vectors)
    assert torch.equal(network(torch.full((1, 1, 16, 16), 9.0)).vectors, network(torch.ones(1, 1, 16, 16)).vectors)


def test_lpips_of_pairs_and_its_permuted_control(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = LPIPS("squeeze")
    monkeypatch.setattr(features, "find_lpips", lambda name, folder: network)
    target = torch.rand(9, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    samples = Samples(target.clone(), target=target, extractor=extractor())
    values = evaluate(samples, ["lpips", "lpips_permuted"])
    assert values["lpips"] == 0 < values["lpips_permuted"]


def test_missing_weights_are_named_and_leave_a_preset_s_metrics_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOOPSTEP_WEIGHTS", str(tmp_path))
    samples = Samples(images(5, 0), reference=images(5, 1), target=images(5, 2), extractor=extractor())
    assert applicable(samples, ["pair_mse", *FEATURE_METRICS]) == ("pair_mse",)
    with pytest.raises(UsageError, match=r"inception2015_to_mixed7_768d\.npz.*KOOPSTEP_WEIGHTS"):
        evaluate(samples, ["fid_768"])
    with pytest.raises(UsageError, match=r"LPIPS.*lpips_squeeze_backbone"):
        evaluate(samples, ["lpips"])


def test_a_folder_that_is_named_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOOPSTEP_WEIGHTS", str(tmp_path / "of-the-environment"))
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / "resnet56-4bfd9763.th").write_bytes(b"")
    assert not features.available("resnet56") and features.available("resnet56", tmp_path / "named")
    looking = Extractor(torch.device("cpu"), weights=tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="elsewhere"):
        looking.look("resnet56", images(2, 0))
