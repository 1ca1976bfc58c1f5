"""``koopstep edit`` from a run to pictures: every kind of edit, what is written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from jobs import QUIET
from koopstep.core.errors import UsageError
from koopstep.core.levels import karras_sigmas
from koopstep.data.collect import CollectSettings, collect
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.unet import UNetConfig
from koopstep.operators.block import BlockConfig
from koopstep.operators.dense import DenseConfig
from koopstep.recipes.recipe import load_recipe
from koopstep.runs.findings import Written
from koopstep.students.files import save_student
from koopstep.students.hkd import HKDConfig
from koopstep.students.kdm import KDMConfig
from koopstep.students.modes import ModesConfig
from koopstep.students.student import DataFacts
from koopstep.students.table import StudentConfig, build_student
from koopstep.teachers.files import read_teacher_file
from koopstep.workflows import edit as edits
from koopstep.workflows.train import train_student

UNET = UNetConfig(model_channels=4, channel_mult=(1, 2), channel_mult_emb=1, num_blocks=1, attention_resolutions=())
COLOUR = DataFacts(
    shape=(3, 8, 8),
    num_classes=3,
    noise_scale=20.0,
    progress=(0.0, 0.5, 1.0),
    levels=tuple(karras_sigmas(2, 0.002, 20.0).tolist()),
)
VECTOR = COLOUR.model_copy(update={"shape": (2,), "num_classes": 0})
MLP = MLPConfig(width=8, depth=2, fourier=0)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An HKD run on digits that learned for three steps."""
    folder = tmp_path_factory.mktemp("digits")
    settings = CollectSettings(count=24, steps=4, hold_out=4, keep="all")
    for _ in collect(read_teacher_file("digits-edm").teacher, folder / "store", settings):
        pass
    changes = ["training.steps=3", "training.batch_size=4", "training.warmup_steps=1", "training.checkpoint_every=3"]
    recipe = load_recipe("digits", "hkd", changes)
    train_student(recipe, folder / "store", folder / "run", resume=False, job=QUIET)
    return folder / "run"


@pytest.fixture(scope="module")
def modes(digits: Path) -> Path:
    """A run of modes on the same paths."""
    changes = ["training.steps=3", "training.batch_size=4", "training.warmup_steps=1", "training.checkpoint_every=3"]
    recipe = load_recipe("digits", "modes", [*changes, "objective.states_from_end=0.5"])
    train_student(recipe, digits.parent / "store", digits.parent / "modes", resume=False, job=QUIET)
    return digits.parent / "modes"


def bare(folder: Path, config: StudentConfig, facts: DataFacts, *, alive: bool = True) -> Path:
    """A student folder without a run."""
    torch.manual_seed(0)
    student = build_student(config, facts)
    if alive:
        for parameter in student.parameters():
            parameter.data.add_(0.1 * torch.randn(parameter.shape))
    save_student(folder, config, student, {"preset": "none"}, "# card")
    return folder


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional student of colour pictures that reads its path, with rates of the state."""
    config = HKDConfig(network=UNET, operator=BlockConfig(modulation="local"), decoder_condition="target")
    return bare(tmp_path_factory.mktemp("colour") / "student", config, COLOUR)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def edit(run: Path, what: str, out: Path | None = None, **options: Any) -> Written:
    written: Written = getattr(edits, what)(run, out=out, job=QUIET, **{"count": 3, **options})
    return written


@pytest.mark.parametrize("what", ["mix", "inpaint", "superres"])
def test_a_run_edits_by_itself(what: str, digits: Path, tmp_path: Path) -> None:
    result = edit(digits, what, tmp_path / what)
    assert all(file.exists() for file in result.files)
    assert json.loads((tmp_path / what / "values.json").read_text()) == json.loads(json.dumps(result.values))
    assert len(list((tmp_path / what / "edited").glob("*.png"))) == 3
    with Image.open(tmp_path / what / "edited" / "0000.png") as picture:
        assert (picture.size, picture.mode) == ((8, 8), "L")
    assert edit(digits, what, tmp_path / "again").values == result.values


@pytest.mark.parametrize("what", ["mix", "scale", "inpaint", "superres"])
def test_a_run_of_modes_edits_by_itself(what: str, modes: Path, tmp_path: Path) -> None:
    result = edit(modes, what, tmp_path / what, **({} if what in ("mix", "scale") else {"steps": 2}))
    assert json.loads((tmp_path / what / "values.json").read_text()) == json.loads(json.dumps(result.values))
    assert len(list((tmp_path / what / "edited").glob("*.png"))) == 3
    assert (tmp_path / what / f"{what}.png").is_file()


def test_modes_of_real_pictures(modes: Path, tmp_path: Path) -> None:
    picture = tmp_path / "seven.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)).save(picture)
    mixed = edit(modes, "mix", tmp_path / "m", image=picture, modes=[1, "constant"]).values
    scaled = edit(modes, "scale", tmp_path / "s", image=picture, modes="1,constant", scales=[0.0]).values
    assert mixed["chosen"] == scaled["modes"]["chosen"] == ["constant", "1"]
    assert mixed["inversion"] == scaled["inversion"] and mixed["count"] == scaled["count"] == 1


def test_modes_of_the_noise_alone_cannot_be_filled_in(tmp_path: Path, photos: Path) -> None:
    facts = COLOUR.model_copy(update={"num_classes": 0})
    alone = bare(tmp_path / "alone", ModesConfig(network=UNET, within=False), facts)
    edit(alone, "scale", tmp_path / "s")
    with pytest.raises(UsageError, match=r"student\.within=true"):
        edit(alone, "inpaint", tmp_path / "i", image=photos)


def test_figures_go_to_the_report(digits: Path) -> None:
    edit(digits, "inpaint", steps=1)
    assert (digits / "report" / "inpaint" / "inpaint.png").is_file()


def test_filling_in_is_compared(digits: Path, tmp_path: Path) -> None:
    values = edit(digits, "inpaint", tmp_path / "a", steps=2, rectangle=(0.0, 0.5, 1.0, 1.0)).values
    assert set(values["results"]) == {"ours", "teacher", "teacher_denoiser", "mean_fill"}
    assert (values["network_calls"], values["missing"]) == (2, 0.5)
    assert all(result["known_error"] == 0 for result in values["results"].values())
    assert all(result["psnr"] > 0 for result in values["results"].values())
    assert "bicubic" in edit(digits, "superres", tmp_path / "b", factor=4).values["results"]


def test_mixing_tells_what_it_did(digits: Path, tmp_path: Path) -> None:
    values = edit(digits, "mix", tmp_path / "a", ratios=(0.9, 0.2), levels="finest", confine=False).values
    assert [entry["ratio"] for entry in values["edits"]["band"]] == [0.2, 0.9]
    assert values["at_matters"] is False and values["confined"] is False
    assert values["band"] == max(values["band_frequency"], key=values["band_frequency"].get)
    assert values["outside_over_inside"] == values["edits"]["finest"][-1]["outside_over_inside"]
    assert values["modes"]["finest"] < values["modes"]["band"] < values["modes"]["all"]
    later = edit(digits, "mix", tmp_path / "b", ratios=(0.9, 0.2), levels="finest", confine=False, at=0.9).values
    assert later["outside_over_inside"] == pytest.approx(values["outside_over_inside"], rel=1e-3)


def test_outside_the_mask_a_confined_edit_is_the_unedited_picture(digits: Path, tmp_path: Path) -> None:
    def pictures(name: str, **options: Any) -> np.ndarray:
        edit(digits, "mix", tmp_path / name, rectangle=(0.0, 0.0, 1.0, 0.5), **options)
        return np.stack([np.asarray(Image.open(file)) for file in sorted((tmp_path / name / "edited").iterdir())])

    kept, free = pictures("kept", ratios=(0.9,)), pictures("free", ratios=(0.9,), confine=False)
    nothing = pictures("nothing", ratios=(0.0,))
    assert np.array_equal(kept[:, 4:], nothing[:, 4:])
    assert np.array_equal(kept[:, :4], free[:, :4])


def test_a_student_of_colours_without_its_run(colour: Path, photos: Path, tmp_path: Path) -> None:
    values = edit(colour, "colorize", tmp_path / "c", image=photos).values
    assert values["count"] == 3 and values["missing"] == pytest.approx(2 / 3)
    assert set(values["results"]) == {"ours"} and "teacher" in values["teacher_left_out"]
    one = edit(colour, "inpaint", tmp_path / "i", image=photos / "0.png").values
    assert one["count"] == 1
    mixed = edit(colour, "mix", tmp_path / "m", reference=photos / "1.png", reencode=True, at=0.3).values
    assert mixed["at_matters"] is True and mixed["reencoded"] is True
    with Image.open(tmp_path / "c" / "edited" / "0000.png") as picture:
        assert picture.mode == "RGB"


def test_pictures_of_another_range_come_back_as_they_were(photos: Path, tmp_path: Path) -> None:
    """A student of data in [0, 1] is given real pictures in its range, and what it leaves alone has the same bytes."""
    facts = COLOUR.model_copy(update={"data_range": (0.0, 1.0)})
    student = bare(tmp_path / "student", HKDConfig(network=UNET, decoder_condition="target"), facts)
    options = {"image": photos, "count": 2, "rectangle": (0.0, 0.0, 1.0, 0.5)}
    values = edit(student, "inpaint", tmp_path / "i", **options).values
    edit(student, "mix", tmp_path / "m", ratios=(0.5,), **options)
    for index in range(2):
        given = np.asarray(Image.open(photos / f"{index}.png")).astype(int)
        for name in "im":
            made = np.asarray(Image.open(tmp_path / name / "edited" / f"{index:04d}.png")).astype(int)
            assert np.abs(made[4:] - given[4:]).max() <= 1 < np.abs(made[:4] - given[:4]).max()
    assert values["results"]["ours"]["known_error"] < 1e-5


def test_real_pictures_are_mixed_into(colour: Path, photos: Path, tmp_path: Path) -> None:
    """They are lifted at the end of the path, evolved back to that point and forth again; outside the mask they stay."""
    options = {"image": photos, "count": 2, "rectangle": (0.0, 0.0, 1.0, 0.5), "ratios": (0.5,)}
    values = edit(colour, "mix", tmp_path / "a", **options).values
    assert values["images"] == str(photos) and values["count"] == 2 and values["inversion"]["mse"] > 0
    for index in range(2):
        given = np.asarray(Image.open(photos / f"{index}.png")).astype(int)
        made = np.asarray(Image.open(tmp_path / "a" / "edited" / f"{index:04d}.png")).astype(int)
        assert np.abs(made[4:] - given[4:]).max() <= 1 < np.abs(made[:4] - given[:4]).max()
    other = edit(colour, "mix", tmp_path / "b", reference=photos / "2.png", **options).values
    assert other["inversion"] == values["inversion"] and other["edits"] != values["edits"]


@pytest.mark.parametrize(
    ("what", "options", "words"),
    [
        ("colorize", {}, "3 planes"),
        ("mix", {"ratios": (1.5,)}, "ratio is from 0"),
        ("mix", {"band": "high"}, "band must be .smallest. or"),
        ("mix", {"order": "size"}, "order must be .real. or"),
        ("mix", {"levels": "none"}, "levels must be .all. or .finest."),
        ("mix", {"at": 1.0}, "at is from 0"),
        ("mix", {"reencode": True}, "--method hkd"),
        ("mix", {"mask": Path("none.png")}, "no such picture"),
        ("mix", {"mask": Path("m.png"), "rectangle": (0.0, 0.0, 1.0, 1.0)}, "not both"),
        ("mix", {"rectangle": (0.0, 0.0, 2.0, 1.0)}, "rectangle is X0"),
        ("mix", {"reference": Path("none.png")}, "no such picture"),
        ("mix", {"image": Path("any.png")}, "never saw; train one with --method hkd"),
        ("inpaint", {"rectangle": (0.0, 0.0, 1.0, 1.0)}, "leaves nothing"),
        ("inpaint", {"steps": 0}, "at least 1 step"),
        ("inpaint", {"at": 1.0}, "below 1"),
        ("inpaint", {"image": Path("nowhere")}, "no such"),
        ("superres", {"factor": 1}, "at least 2"),
        ("mix", {"ratios": ()}, "at least one ratio"),
        ("superres", {"factor": 3}, "divide 8 and 8"),
        ("superres", {"count": 0}, "count must"),
    ],
)
def test_what_is_refused(what: str, options: dict[str, Any], words: str, digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        edit(digits, what, tmp_path, **options)


def test_pictures_that_do_not_fit(digits: Path, colour: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="convert it to grey"):
        edit(digits, "inpaint", tmp_path / "out", image=photos)
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "tall.png")
    with pytest.raises(UsageError, match="is 8 x 9 pixels, the student makes 8 x 8"):
        edit(digits, "inpaint", tmp_path / "out", image=tmp_path / "tall.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UsageError, match="cannot be read"):
        edit(colour, "mix", tmp_path / "out", reference=tmp_path / "text.png")
    with pytest.raises(UsageError, match="--image"):
        edit(colour, "inpaint", tmp_path / "out")


def test_a_folder_that_is_not_empty_is_not_written_into(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    for what in ("mix", "inpaint"):
        with pytest.raises(UsageError, match="is not empty; name another, or add --overwrite"):
            edit(digits, what, tmp_path)
        for place in (digits, tmp_path):
            with pytest.raises(UsageError, match="is what this command reads"):
                edit(digits, what, place, image=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_students_that_cannot_be_edited(tmp_path: Path) -> None:
    vectors = bare(tmp_path / "v", HKDConfig(network=MLP, latent=4), VECTOR)
    with pytest.raises(UsageError, match="editing is for images"):
        edit(vectors, "mix")
    still = bare(tmp_path / "s", HKDConfig(network=UNET, operator=BlockConfig(sharing="none")), COLOUR)
    with pytest.raises(UsageError, match="no bands"):
        edit(still, "mix")
    ends = bare(
        tmp_path / "k",
        KDMConfig(encoder=UNET, decoder=UNET, operator=DenseConfig(), latent=4),
        COLOUR.model_copy(update={"num_classes": 0}),
    )
    for what in ("mix", "inpaint"):
        with pytest.raises(UsageError, match="--method hkd"):
            edit(ends, what)
