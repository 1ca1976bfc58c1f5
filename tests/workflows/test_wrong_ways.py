"""Wrong references, seeds, shapes, ranges, resumes, teachers and options: none gets through silently.

Each is a command that a person could type. It must end with exit code 2 or 3 and one line that names what is wrong.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from koopstep.cli.main import run

NETWORK = "{kind: mlp, width: 8, depth: 2, fourier: 0}"
SMALL = [f"student.{part}={NETWORK}" for part in ("encoder", "data_encoder", "decoder")]
SMALL += ["student.latent=8", "training.steps=2", "training.batch_size=8", "training.checkpoint_every=1"]
UNET = "{kind: unet, model_channels: 8, channel_mult: [1], num_blocks: 1}"
HKD = [f"student.network={UNET}", "initialise=fresh", "student.lift=null", "objective.adversarial=0"]
HKD += ["objective.adversarial_within=0", "training.steps=1", "training.batch_size=4"]


def options(settings: list[str]) -> list[str]:
    return [word for setting in settings for word in ("-o", setting)]


def did(*words: str | Path) -> None:
    assert run([str(word) for word in words]) == 0, words


def change_tensors(source: Path, target: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with safe_open(source, "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    save_file({name: change(tensor) for name, tensor in tensors.items()}, target, metadata)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores, runs and files of every kind, some of them wrong."""
    here = tmp_path_factory.mktemp("wrong")
    did("collect", "checkerboard-edm", "--out", here / "board", "--count", 60, "--steps", 3, "--hold-out", 12)
    did("collect", "checkerboard-edm", "--out", here / "board-4", "--count", 60, "--steps", 4, "--hold-out", 12)
    did(
        "collect", "digits-edm", "--out", here / "digits", "--count", 24, "--steps", 3, "--hold-out", 8, "--keep", "all"
    )
    did("train", "checkerboard", "--data", here / "board", "--out", here / "kdm", *options(SMALL))
    did("train", "digits", "--method", "hkd", "--data", here / "digits", "--out", here / "hkd", *options(HKD))
    rng = np.random.default_rng(0)
    paths = rng.normal(size=(3, 60, 2)).astype(np.float32)
    np.save(here / "paths.npy", paths)
    broken = paths.copy()
    broken[1, 5, 0] = np.nan
    np.save(here / "nan.npy", broken)
    np.save(here / "flat.npy", paths[0])
    np.save(here / "words.npy", np.array(["a", "b"]))
    did("data", "import", here / "paths.npy", "--out", here / "blobs", "--hold-out", 12)
    did("collect", "checkerboard-edm", "--out", here / "thirds", "--count", 60, "--steps", 2, "--hold-out", 20)
    did("train", "checkerboard", "--data", here / "blobs", "--out", here / "of-blobs", *options(SMALL))
    np.savez(here / "large.npz", images=rng.integers(0, 255, (20, 16, 16), dtype=np.uint8))
    np.savez(here / "fashion.npz", images=rng.integers(0, 255, (40, 8, 8), dtype=np.uint8))
    np.savez(here / "floats.npz", images=rng.normal(size=(20, 8, 8)))
    shutil.copytree(here / "kdm", here / "unsaid")
    (here / "unsaid" / "report").mkdir()
    (here / "unsaid" / "report" / "evaluation.json").write_text("null")
    np.save(here / "still.npy", np.stack([paths[0], paths[0]]))
    (here / "stranger").mkdir()
    (here / "stranger" / "config.yaml").write_text("somebody: else\n")
    shutil.copytree(here / "kdm", here / "ill")
    for name in ("int8", "nan"):
        shutil.copytree(here / "kdm" / "student", here / name)
    weights = "student/model.safetensors"
    change_tensors(here / "kdm" / weights, here / "int8/model.safetensors", lambda x: x.to(torch.int8))
    change_tensors(here / "kdm" / weights, here / "nan/model.safetensors", lambda x: x * torch.nan)
    (here / "no-preset.yaml").write_text("extends: checkerbord\n")
    (here / "circle.yaml").write_text("extends: circle.yaml\n")
    (here / "typo.yaml").write_text("extends: checkerboard\ntraining: {stebs: 3}\n")
    (here / "kind.yaml").write_text("extends: checkerboard\nstudent: {operator: {kind: densse}}\n")
    return here


TRAIN = ["train", "checkerboard", "--data", "{}/board", "--out", "{}/new"]
RESUME = ["train", "checkerboard", "--data", "{}/board", "--out", "{}/kdm", "--resume", *options(SMALL)]


def changed(*settings: str) -> list[str]:
    return [*TRAIN, *options([*SMALL, *settings])]


def resumed(*settings: str) -> list[str]:
    return [*RESUME, *options(list(settings))]


WRONG: dict[str, tuple[list[str], str]] = {
    # references
    "reference: of another shape": (["evaluate", "{}/hkd", "--reference", "{}/large.npz"], r"16.*8|8.*16|shape"),
    "reference: not there": (["evaluate", "{}/hkd", "--reference", "{}/nowhere.npz"], "neither built in .* nor a path"),
    "reference: a name mistyped": (["evaluate", "{}/kdm", "--reference", "chekerboard"], "checkerboard"),
    "reference: images for points": (
        ["evaluate", "{}/kdm", "--reference", "digits"],
        "8, 8., the samples have",
    ),
    "reference: points for images": (
        ["evaluate", "{}/hkd", "--reference", "checkerboard"],
        "2,., the samples have",
    ),
    "reference: a file of floats": (["evaluate", "{}/hkd", "--reference", "{}/floats.npz"], "uint8|float"),
    "reference: of one image": (["evaluate", "{}/hkd", "--reference-count", "1"], "reference-count"),
    "reference: the store of another teacher": (
        ["evaluate", "{}/kdm", "--data", "{}/blobs"],
        "paths of another teacher",
    ),
    "reference: a store of another shape": (["evaluate", "{}/kdm", "--data", "{}/digits"], "shape"),
    "reference: no store": (["evaluate", "{}/kdm", "--data", "{}/stranger"], "no trajectory store|manifest"),
    "reference: more rows than there are": (["evaluate", "{}/kdm", "--count", "100"], "12|100"),
    "reference: rows that were trained on": (["evaluate", "{}/kdm", "--data", "{}/thirds"], "were trained on"),
    "reference: an unknown metric": (["evaluate", "{}/kdm", "--metrics", "pair_msee"], "pair_mse"),
    "reference: a metric of another kind of data": (["evaluate", "{}/hkd", "--metrics", "in_cell"], "in_cell"),
    "reference: a metric of the checkerboard without it": (
        ["evaluate", "{}/of-blobs", "--metrics", "in_cell"],
        "in_cell",
    ),
    "reference: a metric without any reference": (
        ["evaluate", "{}/of-blobs", "--metrics", "sliced_wasserstein"],
        "reference",
    ),
    # seeds
    "seed: below 0": (changed("training.seed=-1"), "training.seed"),
    "seed: too large": (changed(f"training.seed={2**70}"), "training.seed"),
    "seed: a word": (changed("training.seed=seven"), "training.seed"),
    "seed: a fraction": (changed("training.seed=1.5"), "training.seed"),
    "seed: of samples below 0": (["sample", "{}/kdm", "--count", "2", "--seed", "-1", "--out", "{}/x.npz"], "seed"),
    "seed: of samples too large": (
        ["sample", "{}/kdm", "--count", "2", "--seed", str(2**70), "--out", "{}/x.npz"],
        "seed",
    ),
    "seed: of a store too large": (
        ["collect", "checkerboard-edm", "--out", "{}/c", "--count", "9", "--seed", str(2**64)],
        "seed",
    ),
    "seed: of the evaluation": (changed("evaluation.seed=-3"), "evaluation.seed"),
    # shapes
    "shape: digits from points": (["train", "digits", "--data", "{}/board", "--out", "{}/new"], "shape"),
    "shape: points from digits": (["train", "checkerboard", "--data", "{}/digits", "--out", "{}/new"], "shape"),
    "shape: the latent cannot hold what is carried": (changed("student.carry=1", "student.latent=1"), "carr"),
    "shape: the teacher's shape changed by hand": (
        ["train", "digits", "--data", "{}/digits", "--out", "{}/new", "-o", "teacher.model.shape=[3,16,16]"],
        "for data of shape .3, 16, 16., the store holds .1, 8, 8.",
    ),
    "shape: an array that is no path": (["data", "import", "{}/flat.npy", "--out", "{}/i"], "shape|steps|dimension"),
    "shape: an array whose ends are equal": (["data", "import", "{}/still.npy", "--out", "{}/i"], "the same numbers"),
    "shape: an array of words": (["data", "import", "{}/words.npy", "--out", "{}/i"], "float|number|type|<U1"),
    "shape: a class of a teacher without": (
        ["sample", "{}/kdm", "--count", "2", "--class-labels", "1", "--out", "{}/x.npz"],
        "class",
    ),
    "shape: a picture of points in a folder": (["sample", "{}/kdm", "--count", "2", "--out", "{}/folder"], "npz"),
    "shape: no latent at all": (changed("student.latent=0"), "latent"),
    "shape: a network of width 0": (changed("student.encoder={kind: mlp, width: 0, depth: 2, fourier: 0}"), "width"),
    # ranges
    "range: NaN in an array": (["data", "import", "{}/nan.npy", "--out", "{}/i"], "NaN|finite"),
    "range: a learning rate below 0": (changed("training.learning_rate=-1"), "training.learning_rate"),
    "range: a learning rate that is none": (changed("training.learning_rate=.nan"), "training.learning_rate"),
    "range: no steps": (changed("training.steps=0"), "training.steps"),
    "range: no rows": (changed("training.batch_size=0"), "training.batch_size"),
    "range: a weight below 0": (changed("objective.prediction=-1"), "objective.prediction"),
    "range: a weight that is infinite": (changed("objective.prediction=.inf"), "objective.prediction"),
    "range: no term": (changed("objective.prediction=0", "objective.latent=0", "objective.reconstruction=0"), "term"),
    "range: betas": (changed("training.betas=[0.9, 1.5]"), "training.betas"),
    "range: a decay below 0": (changed("training.weight_decay=-0.1"), "training.weight_decay"),
    "range: an average below 0": (changed("training.ema_halflife_images=-5"), "training.ema_halflife_images"),
    "range: a warm-up below 0": (changed("training.warmup_steps=-5"), "training.warmup_steps"),
    "range: a micro-batch that does not divide": (changed("training.micro_batch=3"), "micro_batch"),
    "range: more held out than there is": (
        ["collect", "checkerboard-edm", "--out", "{}/c", "--count", "9", "--hold-out", "9"],
        "hold",
    ),
    "range: a store of nothing": (["collect", "checkerboard-edm", "--out", "{}/c", "--count", "0"], "count"),
    "range: a path of no steps": (
        ["collect", "checkerboard-edm", "--out", "{}/c", "--count", "9", "--steps", "0"],
        "steps",
    ),
    "range: one state kept": (
        ["collect", "checkerboard-edm", "--out", "{}/c", "--count", "9", "--keep", "1"],
        "keep",
    ),
    "range: a worker that is not": (
        ["collect", "checkerboard-edm", "--out", "{}/c", "--count", "9", "--rank", "2", "--world", "2"],
        "rank",
    ),
    # resumes
    "resume: another learning rate": (resumed("training.learning_rate=0.5"), "training.learning_rate"),
    "resume: another batch": (resumed("training.batch_size=4"), "training.batch_size"),
    "resume: another seed": (resumed("training.seed=5"), "training.seed"),
    "resume: another latent": (resumed("student.latent=9"), "student.latent"),
    "resume: another objective": (resumed("objective.latent=0.7"), "objective.latent"),
    "resume: other pairs": ([word.replace("{}/board", "{}/board-4") for word in RESUME], "data|store"),
    "resume: another method": ([*RESUME, "--method", "kdm-f"], "was .* is now"),
    "resume: fewer steps than were made": (resumed("training.steps=1"), "training.steps|steps"),
    "resume: forgotten": ([word for word in RESUME if word != "--resume"], "--resume"),
    "resume: of nothing": (["train", "{}/stranger", "--resume"], "field 'recipe' is missing"),
    "resume: into a stranger's folder": (
        [*TRAIN[:-1], "{}/stranger", *options(SMALL)],
        "this run has not written",
    ),
    # teachers
    "teacher: a name mistyped": (["collect", "digits-edn", "--out", "{}/c", "--count", "9"], "digits-edm"),
    "teacher: a student": (
        ["collect", "{}/kdm/student/model.safetensors", "--out", "{}/c", "--count", "9"],
        "teacher",
    ),
    "teacher: another in the same store": (["collect", "digits-edm", "--out", "{}/board", "--count", "60"], "board"),
    "teacher: other steps in the same store": (
        ["collect", "checkerboard-edm", "--out", "{}/board", "--count", "60", "--steps", "5", "--hold-out", "12"],
        "steps",
    ),
    "teacher: another mends the store": (
        ["data", "repair", "{}/board", "--teacher", "digits-edm"],
        "teacher|kind|name",
    ),
    "teacher: the start is another's": (
        ["train", "digits", "--data", "{}/digits", "--out", "{}/new", "-o", "teacher.file=digits-cond-edm"],
        "teacher",
    ),
    "teacher: weights of whole numbers": (["sample", "{}/int8", "--count", "2", "--out", "{}/x.npz"], "int8|weights"),
    "teacher: weights of NaN": (["sample", "{}/nan", "--count", "2", "--out", "{}/x.npz"], "NaN|damaged|SHA"),
    # options
    "option: unknown": (changed("training.stebs=3"), "training.steps"),
    "option: unknown in one's own file": (
        ["train", "{}/typo.yaml", "--data", "{}/board", "--out", "{}/new"],
        "training.stebs.*steps",
    ),
    "option: an unknown kind in one's own file": (
        ["train", "{}/kind.yaml", "--data", "{}/board", "--out", "{}/new"],
        "student.operator.*dense",
    ),
    "option: extends nothing": (
        ["train", "{}/no-preset.yaml", "--data", "{}/board", "--out", "{}/new"],
        "checkerboard",
    ),
    "option: extends itself": (["train", "{}/circle.yaml", "--data", "{}/board", "--out", "{}/new"], "extends itself"),
    "option: an unknown preset": (["train", "digit", "--data", "{}/board", "--out", "{}/new"], "digits"),
    "option: an unknown method": ([*TRAIN, "--method", "kdmf"], "kdm-f"),
    "option: an unknown field of a kind": (changed("student.operator.rank=3"), "student.operator"),
    "option: steps for a student of the ends": (
        ["sample", "{}/kdm", "--count", "2", "--steps", "2", "--out", "{}/x.npz"],
        "hkd",
    ),
    "option: an edit of points": (["edit", "{}/kdm", "mix"], "image|picture|hkd"),
    "option: one edit's option for another": (["edit", "{}/hkd", "inpaint", "--ratio", "0.5"], "ratio"),
    "option: an analysis without its path": (["analyze", "{}/kdm", "linearity"], "hkd|path"),
    "option: data for an analysis without": (
        ["analyze", "{}/kdm", "spectrum", "--data", "{}/blobs"],
        "the student alone",
    ),
    "option: an unknown analysis": (["analyze", "{}/kdm", "spectrun"], "spectrum"),
    "option: an evaluation that is none": (["compare", "{}/unsaid"], "holds no evaluation"),
    "option: a run that is none": (["compare", "{}/kdm", "{}/nowhere"], "is no folder"),
    "option: the output is the input": (
        ["teacher", "convert", "{}/kdm/student/model.safetensors", "--out", "{}/kdm/student/model.safetensors"],
        "is what this command reads",
    ),
}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(autouse=True)
def nothing_new(place: Path) -> Iterator[None]:
    """What a command should not have made goes, so that one that gets through does not hide the next."""
    there = set(place.iterdir())
    yield
    for path in set(place.iterdir()) - there:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("name", WRONG)
def test_it_is_refused_in_one_line(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, wanted = WRONG[name]
    before = contents(place)
    capsys.readouterr()
    code = run([word.replace("{}", str(place)) for word in words])
    said = capsys.readouterr().err.strip().splitlines()
    assert code in (2, 3), said
    assert said and "Traceback" not in "\n".join(said) and "internal error" not in said[-1]
    assert re.search(wanted, said[-1].replace(str(place), "")), said[-1]
    assert len(said[-1]) < 600, "a wall of words"
    after = contents(place)
    lost = [path for path in before if after.get(path) != before[path]]
    assert not lost, "what was there was changed"


def last_json(captured: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(captured.splitlines()[-1])
    return found


def test_nothing_is_measured_against_the_preset_s_data(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Paths of nobody's data, trained with a preset whose data is the checkerboard."""
    capsys.readouterr()
    assert run(["evaluate", f"{place}/of-blobs", "--json"]) == 0
    captured = capsys.readouterr()
    found = last_json(captured.out)
    assert set(found["metrics"]) == {"pair_mse", "pair_mse_permuted"}
    assert "in_cell" in json.dumps(found["left_out"])


def test_pictures_of_an_earlier_call_do_not_stay(place: Path) -> None:
    for count in (5, 3):
        did("sample", place / "hkd", "--count", count, "--out", place / "pictures", "--overwrite")
    assert len(list((place / "pictures").iterdir())) == 3
