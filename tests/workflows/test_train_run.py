"""What training leaves in a run, how it goes on, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tiny_way import generated, spoil, steps_of, tiny_recipe, tiny_store, train_tiny

from jobs import quiet_job
from koopstep.core.console import Bar, Quiet
from koopstep.core.errors import DamagedError, Interrupted, NumericsError, StorageError, UsageError
from koopstep.core.tensors import load_tensors
from koopstep.data.store import Store
from koopstep.recipes.recipe import change_recipe
from koopstep.runs.folder import open_run, read_config, read_metrics
from koopstep.students.files import load_student
from koopstep.training.distillation import Distillation
from koopstep.training.loop import Losses
from koopstep.workflows import train as workflow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_store(tmp_path_factory.mktemp("paths") / "store")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    train_tiny(tiny_recipe(), store, out)
    return out


def _metrics(run: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(run)]


def test_what_is_there_in_the_end(finished: Path, store: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {"config.yaml", "checkpoints", "metrics.jsonl", "student"}
    assert {path.name for path in (finished / "student").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert steps_of(finished) == [8, 12]
    rows = read_metrics(finished)
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert set(rows[0]) == {"step", "total", "reconstruction", "latent", "prediction", "learning_rate", "seconds"}
    config = read_config(finished)
    assert (
        config.recipe.model_copy(update={"collect": tiny_recipe().collect, "teacher": tiny_recipe().teacher})
        == tiny_recipe()
    )
    assert config.data == str(store.resolve())
    assert config.data_root == Store.open(store).root
    provenance = json.loads((finished / "student" / "config.json").read_text())["provenance"]
    assert provenance["data_root"] == config.data_root and provenance["preset"] == "tiny"


class Watched(Quiet):
    """A console that notes how far its bars went."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Bar]:
        with super().bar(title, total, unit) as bar:
            bar.update = lambda done, note="": self.seen.append(done)  # type: ignore[method-assign]
            yield bar


def test_the_bar_moves_with_every_step_however_seldom_is_logged(store: Path, tmp_path: Path) -> None:
    console = Watched()
    recipe = change_recipe(tiny_recipe(), ["training.log_every=50"], "test")
    workflow.train_student(recipe, store, tmp_path / "run", resume=False, job=quiet_job(console=console))
    assert console.seen == list(range(1, 13))


def test_the_student_is_the_average_and_not_the_raw_weights(finished: Path) -> None:
    """The published code of another project saved the raw weights under the name of the average."""
    student, _ = load_tensors(finished / "student" / "model.safetensors")
    averaged, _ = load_tensors(finished / "checkpoints" / "step-00000012" / "ema.safetensors")
    raw, _ = load_tensors(finished / "checkpoints" / "step-00000012" / "student.safetensors")
    assert set(student) == set(averaged) == set(raw)
    assert all(torch.equal(student[name], averaged[name]) for name in student)
    assert not any(torch.equal(student[name], raw[name]) for name in student if raw[name].ndim == 2)


def test_the_student_samples_as_the_averaged_model_did(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    save = workflow.save_student
    monkeypatch.setattr(workflow, "save_student", lambda *a: (kept.append(a[2]), save(*a)))
    train_tiny(tiny_recipe(), store, tmp_path / "run")
    batch = Store.open(store).batch(torch.arange(8).numpy())
    with torch.no_grad():
        assert torch.equal(kept[0].generate(batch.noise), generated(tmp_path / "run", store))
    student, _ = load_student(tmp_path / "run" / "student")
    assert not student.training


def test_the_same_again_is_the_same(tmp_path: Path, store: Path, finished: Path) -> None:
    torch.rand(5)
    done = train_tiny(tiny_recipe(), store, tmp_path / "run")
    name = "student/model.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes()
    assert _metrics(tmp_path / "run") == _metrics(finished)
    assert done.step == 12 and done.loss == _metrics(finished)[-1]["total"]
    assert done.seconds > 0 and done.images_per_second > 0


def test_another_seed_is_another_student(tmp_path: Path, store: Path, finished: Path) -> None:
    train_tiny(tiny_recipe("training.seed=1"), store, tmp_path / "run")
    assert not torch.equal(generated(tmp_path / "run", store), generated(finished, store))


@pytest.mark.parametrize("after", [1, 4, 5, 11])
def test_stopped_and_gone_on(tmp_path: Path, store: Path, finished: Path, after: int) -> None:
    run = tmp_path / "run"
    with pytest.raises(Interrupted, match=f"stopped at step {after} of 12, saved") as caught:
        train_tiny(tiny_recipe(), store, run, stop_after=after)
    assert caught.value.exit_code == 75
    assert steps_of(run)[-1] == after
    assert [row["step"] for row in read_metrics(run)] == list(range(1, after + 1))
    with pytest.raises(UsageError, match="not trained to its end"):
        open_run(run)
    assert train_tiny(tiny_recipe(), store, run, resume=True).step == 12
    for name in ("student/model.safetensors", "student/config.json", "student/README.md", "config.yaml"):
        assert (run / name).read_bytes() == (finished / name).read_bytes()
    assert _metrics(run) == _metrics(finished)


def test_asked_to_stop_in_the_last_step_it_is_done(tmp_path: Path, store: Path) -> None:
    assert train_tiny(tiny_recipe(), store, tmp_path / "run", stop_after=12).step == 12


def test_lines_beyond_the_checkpoint_are_dropped(tmp_path: Path, store: Path, finished: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        train_tiny(tiny_recipe(), store, run, stop_after=6)
    with (run / "metrics.jsonl").open("ab") as stream:  # a kill after the checkpoint, within a line
        stream.write(b'{"step": 7, "total": 1.0}\n\x00\xff\n[3]\n{"step": 8, "tot')
    train_tiny(tiny_recipe(), store, run, resume=True)
    assert _metrics(run) == _metrics(finished)


def test_going_on_with_a_finished_run_does_nothing(tmp_path: Path, store: Path) -> None:
    run = tmp_path / "run"
    first = train_tiny(tiny_recipe(), store, run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    again = train_tiny(tiny_recipe(), store, run, resume=True)
    assert (again.step, again.loss) == (first.step, first.loss)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_starting_over_a_run_is_refused(tmp_path: Path, store: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        train_tiny(tiny_recipe(), store, run, stop_after=3)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="already holds a run; add --resume"):
        train_tiny(tiny_recipe(), store, run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


CHANGES = [
    "training.steps=11",
    "training.batch_size=16",
    "training.micro_batch=4",
    "training.optimizer=adamw",
    "training.learning_rate=0.02",
    "training.weight_decay=0.1",
    "training.betas=[0.5, 0.9]",
    "training.schedule=cosine",
    "training.warmup_steps=2",
    "training.gradient_clip=1.0",
    "training.ema_halflife_images=7.0",
    "training.ema_ramp=0.1",
    "training.autocast=bfloat16",
    "training.seed=1",
    "student.latent=7",
    "student.carry=1.0",
    "student.tied=true",
    "student.encoder.width=9",
    "student.encoder.depth=3",
    "student.decoder.width=9",
    "student.operator.affine=true",
    "student.operator={kind: spectral}",
    "objective.reconstruction=0.2",
    "objective.latent=0.2",
    "objective.prediction=2.0",
    "objective.adversarial=0.1",
    "objective.latent_noise=0.2",
    "objective.distance=pseudo-huber",
]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    out = tmp_path_factory.mktemp("begun") / "run"
    with pytest.raises(Interrupted):
        train_tiny(tiny_recipe(), store, out, stop_after=3)
    return out


@pytest.mark.parametrize("change", CHANGES)
def test_going_on_with_other_settings_is_refused(begun: Path, store: Path, change: str) -> None:
    before = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()}
    name = change.partition("=")[0]
    with pytest.raises(UsageError, match=rf"{name}\S* was .*, is now") as caught:
        train_tiny(tiny_recipe(change), store, begun, resume=True)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()} == before


def test_going_on_with_other_data_is_refused(begun: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="data was"):
        train_tiny(tiny_recipe(), tiny_store(tmp_path / "store", seed=1), begun, resume=True)


_FREE = (
    "training.log_every=2",
    "training.checkpoint_every=5",
    "training.keep_checkpoints=1",
    "training.read_ahead=true",
)


def test_what_does_not_change_the_result_may_change(tmp_path: Path, store: Path, finished: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        train_tiny(tiny_recipe(), store, run, stop_after=3)
    moved = tiny_recipe("evaluation.metrics=[pair_mse]", "tracking=tensorboard", "about=the same", *_FREE)
    pytest.importorskip("tensorboard")
    train_tiny(moved, store, run, resume=True)
    recorded = read_config(run).recipe
    assert (recorded.evaluation, recorded.tracking, recorded.about) == (moved.evaluation, moved.tracking, moved.about)
    name = "student/model.safetensors"
    assert (run / name).read_bytes() == (finished / name).read_bytes()


def test_damaged_checkpoints(tmp_path: Path, store: Path, finished: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        train_tiny(tiny_recipe(), store, run, stop_after=9)
    newest = run / "checkpoints" / "step-00000009" / "ema.safetensors"
    spoil(newest)
    train_tiny(tiny_recipe(), store, run, resume=True)  # from step 8
    assert _metrics(run) == _metrics(finished)
    for path in (run / "checkpoints").glob("*/ema.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(DamagedError, match="is whole"):
        train_tiny(tiny_recipe(), store, run, resume=True)


def test_not_a_number_stops_and_keeps_what_was_saved(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, honest = tmp_path / "run", Distillation.losses

    def poisoned(task: Distillation, step: int, rows: slice) -> Losses:
        found = honest(task, step, rows)
        if step != 6:
            return found
        return Losses(found.total * float("nan"), found.terms | {"latent": found.terms["latent"] * float("nan")})

    monkeypatch.setattr(Distillation, "losses", poisoned)
    with pytest.raises(NumericsError, match="step 7: the term 'latent' is nan"):
        train_tiny(tiny_recipe(), store, run)
    assert steps_of(run) == [4]
    weights, _ = load_tensors(run / "checkpoints" / "step-00000004" / "student.safetensors")
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())
    assert not (run / "student").exists()


def test_the_adversarial_term_brings_its_discriminator(tmp_path: Path, store: Path) -> None:
    run = tmp_path / "run"
    train_tiny(tiny_recipe("objective.adversarial=0.1"), store, run)
    assert {"adversarial", "discriminator"} <= set(read_metrics(run)[0])
    assert (run / "checkpoints" / "step-00000012" / "discriminator.safetensors").is_file()
    assert not any("discriminator" in name for name in load_tensors(run / "student" / "model.safetensors")[0])


def test_tensorboard(tmp_path: Path, store: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        train_tiny(tiny_recipe("tracking=tensorboard"), store, run, stop_after=5)
    train_tiny(tiny_recipe("tracking=tensorboard"), store, run, resume=True)
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    rows = read_metrics(run)
    assert set(events.Tags()["scalars"]) == set(rows[0]) - {"step", "seconds"}
    found = {event.step: event.value for event in events.Scalars("prediction")}
    assert found == pytest.approx({row["step"]: row["prediction"] for row in rows}, rel=1e-6)


def test_tensorboard_that_is_not_installed(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install 'koopstep\[track\]'"):
        train_tiny(tiny_recipe("tracking=tensorboard"), store, tmp_path / "run")


def test_a_preset_of_another_shape(tmp_path: Path, store: Path) -> None:
    from koopstep.recipes.recipe import load_recipe

    with pytest.raises(UsageError, match=r"is for data of shape \(1, 8, 8\), the store holds \(2,\)"):
        train_tiny(load_recipe("digits"), store, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("change", ["training.batch_size=0", "training.micro_batch=3", "training.learning_rate=-1.0"])
def test_settings_that_do_not_fit_leave_nothing_behind(tmp_path: Path, store: Path, change: str) -> None:
    with pytest.raises(UsageError):
        train_tiny(tiny_recipe(change), store, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        train_tiny(tiny_recipe(), tmp_path / "nothing", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_half_a_store(tmp_path: Path) -> None:
    store = tiny_store(tmp_path / "store")
    (store / "complete.json").unlink()
    with pytest.raises(UsageError, match="units committed"):
        train_tiny(tiny_recipe(), store, tmp_path / "run")


def test_a_damaged_store(tmp_path: Path) -> None:
    store = tiny_store(tmp_path / "store")
    shard = store / "shards" / "00000.safetensors"
    spoil(shard)
    with pytest.raises(DamagedError):
        train_tiny(tiny_recipe(), store, tmp_path / "run")


def test_a_run_where_a_file_is(tmp_path: Path, store: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(StorageError):
        train_tiny(tiny_recipe(), store, tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_a_conditional_student(tmp_path: Path) -> None:
    from koopstep.data.collect import CollectSettings, collect
    from koopstep.teachers.functions import from_denoiser

    def clean(x: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        assert labels is not None
        return (2.0 * labels.to(x.dtype)[:, None] - 3).expand_as(x)  # each class is one point

    teacher = from_denoiser(clean, (2,), num_classes=4, data_scale=2.0)
    for _ in collect(teacher, tmp_path / "store", CollectSettings(count=200, steps=2, hold_out=20)):
        pass
    run = tmp_path / "run"
    train_tiny(tiny_recipe("training.steps=300", "training.log_every=50"), tmp_path / "store", run)
    student, described = load_student(run / "student")
    assert described.facts.num_classes == 4
    with torch.no_grad():
        made = student.generate(torch.randn(40, 2, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 4)
    found = torch.stack([made[label::4].mean() for label in range(4)])
    assert found.tolist() == pytest.approx([-3, -1, 1, 3], abs=0.7)


def test_training_leaves_the_callers_random_numbers_alone(tmp_path: Path) -> None:
    store = tiny_store(tmp_path / "store")
    before = torch.get_rng_state()
    train_tiny(tiny_recipe("training.steps=2", "objective.adversarial=0.1"), store, tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)
