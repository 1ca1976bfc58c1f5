"""Operators, networks, terms, methods, metrics and analyses of one's own: known by name once their code was imported."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import koopstep as ks
from koopstep.cli.main import run
from koopstep.core import registry
from koopstep.core.config import dump
from koopstep.core.errors import UsageError
from koopstep.evaluation.metrics import METRICS, evaluate
from koopstep.evaluation.samples import Samples
from koopstep.losses.config import ObjectiveConfig
from koopstep.losses.terms import TERMS, chosen
from koopstep.nets.table import build_network
from koopstep.operators.table import OPERATORS, build_operator
from koopstep.recipes.layers import method_names, resolve
from koopstep.recipes.recipe import Recipe, change_recipe, load_recipe
from koopstep.students.kdm import KDMConfig
from koopstep.teachers.edm import EDMConfig, build_edm
from koopstep.workflows.analyses import ANALYSES

CODE = '''
from __future__ import annotations
import torch
import koopstep as ks

@ks.register_operator("decay")
class Decay(ks.Operator):
    def __init__(self, shape, generator, *, start: float = -0.5, sizes: tuple[int, ...] = (1, 2)):
        super().__init__(shape, continuous=True)
        self.sizes = sizes
        self.rate = torch.nn.Parameter(start + 0.01 * torch.randn(self.dimension, generator=generator))

    def matrix(self, du=1.0):
        return torch.diag(torch.exp(du * self.rate))

    def _move(self, latent, step, condition):
        du = torch.as_tensor(step, dtype=latent.dtype, device=latent.device).reshape(-1, 1)
        return (latent.flatten(1) * torch.exp(du * self.rate)).reshape(latent.shape)

@ks.register_network("wave")
class Wave(torch.nn.Module):
    def __init__(self, shape, outputs, num_classes, *, width: int = 8):
        super().__init__()
        self.layer = torch.nn.Linear(shape[0], outputs)

    def forward(self, x, noise_labels, class_labels=None):
        return torch.sin(self.layer(x))

@ks.register_term("centred", weight=0.25)
def centred(run):
    return (run.predicted.mean(dim=0) - run.batch.data.mean(dim=0)).square().mean()

@ks.register_metric("spread", needs=["target"])
def spread(samples):
    """How wide the samples are.

    Against the teacher's.
    """
    return samples.student.std() / samples.target.std()
'''
SMALL = "{kind: mlp, width: 8, depth: 2, fourier: 0}"
TINY = [f"student.{part}={SMALL}" for part in ("data_encoder", "decoder")]
TINY += ["student.encoder={kind: wave}", "student.operator={kind: decay, start: -1.0}", "student.latent=8"]
TINY += ["training.steps=2", "training.batch_size=8", "objective.terms={centred: 0.5}"]
TINY += ["evaluation.metrics=[pair_mse, spread]"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "own_parts.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    forget_code()


def forget_code() -> None:
    """As if the code had never been imported."""
    registry.forget()
    for name in [name for name in sys.modules if name.startswith("own_parts")]:
        del sys.modules[name]


@pytest.fixture
def parts(here: Path) -> Iterator[None]:
    sys.path.insert(0, str(here))
    __import__("own_parts")
    yield
    sys.path.remove(str(here))


def student(**changes: Any) -> dict[str, Any]:
    small = {"kind": "mlp", "width": 8, "depth": 2, "fourier": 0}
    return {"encoder": small, "decoder": small, "operator": {"kind": "decay"}, "latent": 6} | changes


def test_an_operator_by_name(parts: None) -> None:
    config = KDMConfig.parse(student(operator={"kind": "decay", "start": -2.0, "sizes": [3]}), "here")
    assert dump(config)["operator"] == {"kind": "decay", "start": -2.0, "sizes": [3]}
    assert KDMConfig.parse(dump(config), "again") == config
    built = build_operator(config.operator, (6,), 0)
    assert isinstance(built, ks.Operator)
    assert (built.sizes, built.rate.mean().item()) == ((3,), pytest.approx(-2.0, abs=0.02))  # type: ignore[arg-type]
    latent = torch.randn(4, 6)
    torch.testing.assert_close(built.evolve(latent), latent @ built.matrix().T)
    torch.testing.assert_close(built.evolve(built.evolve(latent, 0.25), 0.75), built.evolve(latent))
    assert torch.equal(build_operator(config.operator, (6,), 0).matrix(), built.matrix())


@pytest.mark.parametrize(
    ("operator", "words"),
    [
        ({"kind": "decai"}, r"'operator.kind' got 'decai'.*allowed: dense.*registered first.*--import"),
        ({"start": 1.0}, r"'operator.kind' is missing"),
        ({"kind": "decay", "start": "fast"}, r"operator 'decay': field 'start' got 'fast'"),
        ({"kind": "decay", "begin": 1.0}, r"operator 'decay': unknown field 'begin'"),
        ({"kind": "dense", "begin": 1.0}, r"unknown field 'operator.begin'"),
    ],
)
def test_wrong_settings_of_an_operator_are_named(parts: None, operator: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        KDMConfig.parse(student(operator=operator), "here")


def test_a_network_by_name(parts: None) -> None:
    config = KDMConfig.parse(student(encoder={"kind": "wave", "width": 3}), "here")
    assert build_network(config.encoder, (2,), outputs=6)(torch.zeros(4, 2), torch.zeros(4), None).shape == (4, 6)
    with pytest.raises(UsageError, match="'wave' takes vectors"):
        build_network(config.encoder, (1, 4, 4))
    teacher = EDMConfig.parse({"shape": [2], "network": {"kind": "wave"}}, "teacher")
    assert build_edm(teacher)(torch.zeros(3, 2), torch.ones(3)).shape == (3, 2)


def test_a_network_for_images() -> None:
    @ks.register_network("twice", images=True)
    def twice(shape: tuple[int, ...], outputs: int, num_classes: int) -> nn.Module:
        class Twice(nn.Module):
            def forward(self, x: Tensor, labels: Tensor, class_labels: Tensor | None = None) -> Tensor:
                return 2 * x[:, :outputs]

        return Twice()

    built = ks.KDMConfig.parse(student(encoder={"kind": "twice"}, operator={"kind": "dense"}, latent=16), "images")
    assert build_network(built.encoder, (3, 4, 4), outputs=1)(torch.ones(2, 3, 4, 4), torch.ones(2)).shape == (
        2,
        1,
        4,
        4,
    )


def test_names_that_are_taken_or_cannot_be(parts: None) -> None:
    def make(shape: tuple[int, ...], generator: torch.Generator) -> ks.Operator:
        raise AssertionError

    register = {
        "operator": ks.register_operator,
        "network": ks.register_network,
        "term": ks.register_term,
        "metric": ks.register_metric,
    }
    taken = {"operator": "dense", "network": "unet", "term": "latent", "metric": "pair_mse"}
    own = {"operator": "decay", "network": "wave", "term": "centred", "metric": "spread"}
    for what, decorator in register.items():
        with pytest.raises(UsageError, match=f"koopstep has the {what} '{taken[what]}' already"):
            decorator(taken[what])(make)  # type: ignore[operator]
        with pytest.raises(UsageError, match=f"own_parts registered the {what} '{own[what]}' already"):
            decorator(own[what])(make)  # type: ignore[operator]
        with pytest.raises(UsageError, match="small letters"):
            decorator("Some Thing")(make)  # type: ignore[operator]
    assert OPERATORS["decay"].build is not None


def test_the_same_code_may_run_again(parts: None) -> None:
    exec_twice: Callable[[], type] = lambda: type("Again", (), {"__module__": "cell", "__qualname__": "Again"})  # noqa: E731
    table: dict[str, int] = {}
    registry.add("operator", table, "again", 1, registry.origin_of(exec_twice()))
    registry.add("operator", table, "again", 2, registry.origin_of(exec_twice()))
    assert table == {"again": 2}


def test_a_setting_needs_a_type() -> None:
    with pytest.raises(UsageError, match="'size' of 'plain' needs a type"):

        @ks.register_operator("plain")
        def plain(shape, generator, *, size=3):  # type: ignore[no-untyped-def]
            raise AssertionError


def test_terms_have_weights_by_name(parts: None) -> None:
    recipe = load_recipe("checkerboard", None, ["objective.terms.centred=0.5"])
    assert recipe.objective.terms == {"centred": 0.5}
    assert set(chosen(recipe.objective)) - {"centred"} == set(chosen(load_recipe("checkerboard").objective))
    assert load_recipe("checkerboard", None, ["objective.terms=[centred]"]).objective.terms == {"centred": 0.25}
    assert change_recipe(recipe, ["objective.terms.centred=0"], "here") == load_recipe("checkerboard")
    assert Recipe.parse(dump(recipe), "again") == recipe
    assert "terms" not in dump(ObjectiveConfig())  # digests of recipes without any stay what they were
    for changes, words in (
        ("objective.terms={centered: 1.0}", "unknown term 'centered'.*did you mean 'centred'"),
        ("objective.terms={latent: 1.0}", "set objective.latent"),
    ):
        with pytest.raises(UsageError, match=words):
            chosen(load_recipe("checkerboard", None, [changes]).objective)
    with pytest.raises(UsageError, match=r"terms\.centred"):
        load_recipe("checkerboard", None, ["objective.terms={centred: -1.0}"])
    with pytest.raises(UsageError, match="must be above 0"):
        ks.register_term("free", weight=0.0)


def test_a_method_of_ones_own(parts: None) -> None:
    settings = {"student": {"operator": {"kind": "decay"}}, "training": {"learning_rate": 0.125}}
    ks.register_method("mine", about="what I try", extends="hkd", settings=settings)
    assert method_names()["mine"] == "what I try"
    for preset in ("digits", "checkerboard"):
        below, mine = resolve(preset, "hkd").settings, resolve(preset, "mine").settings
        assert mine["student"]["operator"] == {"kind": "decay"}
        assert mine["training"] == below["training"] | {"learning_rate": 0.125}
        assert (mine["objective"], mine["method"]) == (below["objective"], "mine")
    assert load_recipe("digits", "mine").student.operator.kind == "decay"
    ks.register_method("mine", about="what I try", extends="hkd", settings=settings)  # the same again
    for name, words in (("mine", "registered the method 'mine' already"), ("kdm", "koopstep has the method")):
        with pytest.raises(UsageError, match=words):
            ks.register_method(name, about="another", settings={})
    with pytest.raises(UsageError, match="unknown method 'hdk'"):
        ks.register_method("other", about="", settings={}, extends="hdk")
    with pytest.raises(UsageError, match="plain data"):
        ks.register_method("other", about="", settings={"student": torch.zeros(1)})


def test_a_metric_and_an_analysis(parts: None) -> None:
    samples = Samples(torch.tensor([[0.0], [2.0]]), target=torch.tensor([[0.0], [1.0]]))
    assert evaluate(samples, ["spread"]) == {"spread": pytest.approx(2.0)}
    assert METRICS["spread"].measures == "How wide the samples are."
    with pytest.raises(UsageError, match="'spread' needs the teacher's samples"):
        evaluate(Samples(torch.zeros(2, 1)), ["spread"])
    with pytest.raises(UsageError, match="cannot need 'tarjet'; did you mean 'target'"):
        ks.register_metric("other", needs=["tarjet"])

    @ks.register_analysis("mine", about="something", needs=("path",))
    def mine(subject: Any) -> Any:
        raise AssertionError

    assert ANALYSES["mine"].about == "something"
    with pytest.raises(UsageError, match="cannot need 'paths'"):
        ks.register_analysis("other", about="", needs=("paths",))  # type: ignore[arg-type]


def test_what_breaks_in_ones_own_code_is_said_to_be_its_own() -> None:
    @ks.register_metric("broken")
    def broken(samples: Samples) -> float:
        return {"a": 1.0}["b"]

    with pytest.raises(UsageError, match=r"the metric 'broken' failed: KeyError: 'b' .line \d+ of test_registered.py"):
        evaluate(Samples(torch.zeros(2, 1)), ["broken"])

    @ks.register_term("broken")
    def other(run: Any) -> Tensor:
        return run.nothing  # type: ignore[no-any-return]

    with pytest.raises(UsageError, match="the term 'broken' failed: AttributeError"):
        TERMS["broken"].value(None)  # type: ignore[arg-type]


def test_nothing_stays_when_it_is_forgotten(parts: None) -> None:
    assert "centred" in TERMS
    registry.forget()
    assert "centred" not in TERMS and "decay" not in OPERATORS and "spread" not in METRICS
    assert load_recipe("checkerboard").objective.terms == {}


@pytest.mark.parametrize("named", ["own_parts", "own_parts.py"])
def test_a_student_with_parts_of_ones_own(
    here: Path, named: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        run(["collect", "checkerboard-edm", "--out", "store", "--count", "60", "--steps", "3", "--hold-out", "12"]) == 0
    )
    train = ["train", "checkerboard", "--data", "store", "--out", "run"]
    train += [word for setting in TINY for word in ("-o", setting)]
    assert run(train) == 2
    assert "--import" in capsys.readouterr().err
    assert run([*train, "--import", named]) == 0
    samples = ks.Student.load("run").sample(4, seed=1)
    assert run(["evaluate", "run", "--import", named, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]["spread"] > 0
    forget_code()
    for folder in ("run", "run/student"):
        assert run(["sample", folder, "--count", "4", "--out", f"{folder}.npz"]) == 2
        words = capsys.readouterr().err
        assert re.search(rf"(operator 'decay'|network 'wave').*{re.escape(named)}.*--import", words), words
    with pytest.raises(UsageError, match=r"which own_parts.* registers; import that first"):
        ks.Student.load("run/student")
    assert run(["sample", "run", "--count", "4", "--out", "a.npz", "--import", named]) == 0
    assert torch.equal(ks.Student.load("run").sample(4, seed=1), samples)
    forget_code()
    monkeypatch.setenv("KOOPSTEP_IMPORT", named)
    assert run(["edit", "run", "mix"]) == 2  # a vector: but the student was opened
    assert "registers" not in capsys.readouterr().err
    monkeypatch.setenv("KOOPSTEP_IMPORT", "nothing_like_it")
    assert run(["sample", "run", "--count", "4", "--out", "b.npz"]) == 2
    assert "no module 'nothing_like_it'" in capsys.readouterr().err
