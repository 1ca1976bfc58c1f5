"""Any teacher opens the same way and is the same type; what cannot be one says what to write."""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import koopstep as ks
from koopstep.cli.main import run
from koopstep.core.config import dump
from koopstep.core.errors import UsageError
from koopstep.core.tensors import save_tensors
from koopstep.data.collect import CollectSettings, collect
from koopstep.data.store import Store
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.unet import UNetConfig
from koopstep.runs.origin import own_teacher
from koopstep.teachers.base import Teacher
from koopstep.teachers.edm import EDMConfig, build_edm
from koopstep.teachers.files import TeacherHeader, goes_by, read_teacher_file, save_teacher
from koopstep.teachers.packaged import packaged_teachers

CODE = """
import torch
import koopstep as ks

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
    def forward(self, x, sigma, class_labels):
        return torch.tanh(self.layer(x)) / (1 + sigma[:, None])

network = Network()
made = ks.from_denoiser(network, shape=(2,), name="mine")
number = 3

def denoise(x, sigma, class_labels):
    return network(x, sigma, class_labels)

def teacher():
    import beside_mine
    return ks.from_denoiser(network, shape=(2,), name=beside_mine.NAME)

def nothing():
    return None

def breaks():
    raise ValueError("no such weights")

def leaves():
    raise SystemExit(3)

def wrong_shape():
    return ks.from_denoiser(network, shape=())
"""
BESIDE = "NAME = 'told beside'"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "mine_teachers.py").write_text(CODE)
    (tmp_path / "beside_mine.py").write_text(BESIDE)
    (tmp_path / "needs_more.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "broken_code.py").write_text("def f(:\n")
    (tmp_path / "leaving.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "inner.py").write_text("from mine_teachers import teacher\n")
    monkeypatch.chdir(tmp_path)
    known, path = set(sys.modules), list(sys.path)
    yield tmp_path
    assert sys.path == path  # the caller's own is left alone
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.mark.parametrize("name", sorted(packaged_teachers()))
def test_a_packaged_teacher(name: str) -> None:
    teacher = ks.load_teacher(name, device="cpu")
    assert teacher.source == packaged_teachers()[name]
    assert teacher.parameters == read_teacher_file(name).parameters
    assert teacher.config == read_teacher_file(name).header.config
    assert teacher.training_data is not None
    assert ks.load_teacher(teacher) is teacher
    assert str(teacher.shape) in repr(teacher)
    assert f"{teacher.parameters:,} parameters" in repr(teacher)
    assert "\n" not in repr(teacher)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("mine_teachers:teacher", "told beside"),
        ("mine_teachers.py:teacher", "told beside"),
        ("package.inner:teacher", "told beside"),
        ("mine_teachers:made", "mine"),
    ],
)
def test_a_function_of_ones_own(here: Path, source: str, name: str) -> None:
    teacher = ks.load_teacher(source)
    assert isinstance(teacher, Teacher)
    assert (teacher.name, teacher.shape, teacher.parameters, teacher.source) == (name, (2,), 6, None)
    assert teacher.sample(3).shape == (3, 2)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("no_such_module:teacher", "no module 'no_such_module'"),
        ("mine_teachers.nothing:teacher", "no module|cannot import"),
        ("nowhere/file.py:teacher", "no file nowhere/file.py"),
        ("mine_teachers:techer", "did you mean 'teacher'"),
        ("mine_teachers:denoise", r"takes x, sigma, class_labels.*from_denoiser\(denoise, shape="),
        ("mine_teachers:network", r"takes x, sigma, class_labels.*from_denoiser\(network, shape="),
        ("mine_teachers:Network", "returned a Network"),
        ("mine_teachers:nothing", "returned a NoneType"),
        ("mine_teachers:number", "is a int"),
        ("mine_teachers:breaks", "failed: ValueError: no such weights .line .* of mine_teachers.py"),
        ("mine_teachers:leaves", "failed: SystemExit"),
        ("needs_more:teacher", "cannot import needs_more: ModuleNotFoundError.*nothing_of_this_name"),
        ("broken_code:teacher", "cannot import broken_code: SyntaxError"),
        ("leaving:teacher", "cannot import leaving: SystemExit"),
    ],
)
def test_what_is_no_teacher_says_what_to_write(here: Path, source: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        ks.load_teacher(source)
    assert "\n" not in str(caught.value)
    for line in ("import koopstep as ks", "def teacher():", "return ks.from_denoiser("):
        assert line in str(caught.value)


def test_an_error_of_ours_within_is_the_error(here: Path) -> None:
    with pytest.raises(UsageError, match=r"^shape is that of one sample"):
        ks.load_teacher("mine_teachers:wrong_shape")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digits-emd", "did you mean 'digits-edm'"),
        ("mnist-edm", "preset 'mnist'.*koopstep teacher train mnist --out mnist-edm.safetensors"),
        ("folder/cifar10-edm.safetensors", "preset 'cifar10'.*koopstep teacher convert"),
        ("digits", "is a preset; its teacher is 'digits-edm'"),
        ("ffhq64", "koopstep teacher train ffhq64"),
        ("mine_teachers.py", "name the function in it, as in mine_teachers.py:teacher"),
        ("package", "none of the formats"),
    ],
)
def test_names_of_nothing(here: Path, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ks.load_teacher(name)


def test_other_things_of_ours_are_named(here: Path) -> None:
    for _ in collect(ks.load_teacher("checkerboard-edm"), here / "store", CollectSettings(count=8, steps=2)):
        pass
    with pytest.raises(UsageError, match="is a store of paths"):
        ks.load_teacher("store")
    (here / "store" / "manifest.json").rename(here / "store" / "config.yaml")
    with pytest.raises(UsageError, match="is a run or a student"):
        ks.load_teacher("store")
    with pytest.raises(UsageError, match="a Linear is no teacher yet"):
        ks.load_teacher(nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="leave the config away"):
        ks.load_teacher("digits-edm", config="x.yaml")


CONFIG = EDMConfig(shape=(2,), network=MLPConfig(width=8, depth=2), sigma_max=20.0)


@pytest.fixture
def weights(here: Path) -> Path:
    """A state dict with its config beside it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_edm(CONFIG)
    save_tensors(here / "net.pth.safetensors", model.state_dict())
    (here / "net.pth.safetensors").rename(here / "net.safetensors")
    (here / "net.yaml").write_text(json.dumps(dump(CONFIG)))
    return here / "net.safetensors"


def test_a_state_dict_in_memory_is_the_same_teacher_as_its_conversion(weights: Path) -> None:
    teacher = ks.load_teacher(weights)
    assert (teacher.source, teacher.config, teacher.name) == (weights, CONFIG, "net")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an untrained network makes what it makes
        for _ in collect(teacher, "store", CollectSettings(count=8, steps=2)):
            pass
    found = Store.open(Path("store")).manifest.teacher
    assert run(["teacher", "convert", str(weights), "--out", "t.safetensors"]) == 0
    own = own_teacher(["t.safetensors"], found.name, found.sha256).need()
    assert torch.equal(own.teacher.sample(4), teacher.sample(4))
    assert run(["data", "repair", "store", "--teacher", "t.safetensors"]) == 0
    assert goes_by(ks.load_teacher("t.safetensors"), found.sha256) and goes_by(teacher, found.sha256)
    assert not goes_by(ks.load_teacher("checkerboard-edm"), found.sha256)
    other = ["-o", "solver=euler"]
    assert run(["teacher", "convert", str(weights), "--out", "other.safetensors", *other]) == 0
    assert own_teacher(["other.safetensors"], found.name, found.sha256).value is None  # other paths of the same weights
    for dtype, same in (("float16", False), ("float64", False)):
        assert run(["teacher", "convert", str(weights), "--out", f"{dtype}.safetensors", "--dtype", dtype]) == 0
        assert (own_teacher([f"{dtype}.safetensors"], found.name, found.sha256).value is not None) is same


def test_the_paths_of_a_function_are_made_again_by_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an untrained network makes what it makes
        for _ in collect(ks.load_teacher("mine_teachers:teacher"), "store", CollectSettings(count=8, steps=2)):
            pass
    shard = next(Path("store").rglob("*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert run(["data", "repair", "store"]) == 2
    assert "made by the function 'told beside'" in capsys.readouterr().err
    teacher = ks.load_teacher("mine_teachers:teacher")
    assert run(["data", "repair", "store", "--teacher", "mine_teachers:teacher"]) == 0
    assert (teacher.sha256, Store.open(Path("store")).verify()) == ("", [])


def test_a_named_config_and_its_refusals(weights: Path) -> None:
    Path("net.yaml").rename("elsewhere.yaml")
    with pytest.raises(UsageError, match="says nothing of their network"):
        ks.load_teacher(weights)
    assert ks.load_teacher(weights, config="elsewhere.yaml").sample(2).shape == (2, 2)
    assert ks.load_teacher("digits-edm").config != CONFIG


def test_info_shows_any_source(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source, kind, parameters in (("mine_teachers:teacher", "denoiser", 6), (str(weights), "edm", None)):
        assert run(["teacher", "info", source, "--json"]) == 0
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (told["kind"], told["shape"], told["num_classes"]) == (kind, [2], 0)
        assert told["parameters"] == (parameters or sum(p.numel() for p in build_edm(CONFIG).parameters()))


def test_samples_are_the_ends_of_the_stored_paths(tmp_path: Path) -> None:
    teacher = ks.load_teacher("digits-cond-edm", device="cpu")
    for _ in collect(teacher, tmp_path, CollectSettings(count=5, steps=3, seed=7)):
        pass
    store = Store.open(tmp_path)
    torch.testing.assert_close(teacher.sample(5, seed=7, steps=3), store.batch(range(5)).data)
    ones = teacher.sample(2, steps=2, class_labels=1)
    assert torch.equal(ones, teacher.sample(2, steps=2, class_labels=[1, 1]))
    assert not torch.allclose(ones, teacher.sample(2, steps=2, class_labels=torch.tensor([2, 2])))
    for wrong in ({"count": 0}, {"count": 2, "class_labels": 10}, {"count": 2, "class_labels": [1]}):
        with pytest.raises(UsageError):
            teacher.sample(**wrong)  # type: ignore[arg-type]


def test_a_module_is_called_in_eval_mode_and_left_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2))
    network[2].eval()

    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None) -> Tensor:
            return network(x)  # type: ignore[no-any-return]

    mine = Mine()
    teacher = ks.from_denoiser(mine, (2,))
    assert torch.equal(teacher.sample(4), teacher.sample(4))
    assert (mine.training, network[1].training, network[2].training) == (True, True, False)
    assert all(p.requires_grad and p.grad is None for p in mine.parameters())
    assert not teacher.sample(1).requires_grad
    assert (teacher.parameters, teacher.device) == (sum(p.numel() for p in mine.parameters()), torch.device("cpu"))
    assert ks.from_velocity(mine.forward, (2,)).parameters == teacher.parameters
    assert (
        ks.from_epsilon(mine, (2,), alphas_cumprod=torch.linspace(0.999, 0.0001, 10)).parameters == teacher.parameters
    )
    assert ks.from_denoiser(lambda x, sigma, labels: x, (2,), device="cpu").device == torch.device("cpu")


def test_a_student_starts_from_a_teacher_that_was_opened(tmp_path: Path) -> None:
    config = EDMConfig(shape=(1, 4, 4), network=UNetConfig(model_channels=4, channel_mult=(1,), num_blocks=1))
    save_teacher(tmp_path / "t.safetensors", TeacherHeader(config=config, name="t"), build_edm(config))
    teacher = ks.load_teacher(tmp_path / "t.safetensors")
    assert teacher.source == tmp_path / "t.safetensors"
    found = own_teacher([str(teacher.source)], teacher.name, teacher.sha256).need()
    assert found.header.config == teacher.config
