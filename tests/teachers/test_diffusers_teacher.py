"""Teachers from diffusers: the same numbers as diffusers itself, from memory and from a folder; the rest is refused."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from koopstep import from_diffusers, from_epsilon
from koopstep.cli.main import run
from koopstep.core.config import dump
from koopstep.core.errors import DamagedError, KoopstepError, UsageError
from koopstep.core.files import sha256_file
from koopstep.core.levels import ddpm_sigmas
from koopstep.core.tensors import load_tensors, save_tensors
from koopstep.teachers.diffusers.config import DiffusersConfig, ScheduleConfig, read_schedule
from koopstep.teachers.diffusers.teacher import DiffusersDenoiser, build_diffusers, schedule_alphas, timesteps_of
from koopstep.teachers.files import TeacherHeader, read_teacher_file, save_teacher
from koopstep.teachers.foreign.diffusers import is_pipeline, read_pipeline
from koopstep.teachers.foreign.table import sniff

diffusers = pytest.importorskip("diffusers")

PREDICTIONS = ("epsilon", "v_prediction", "sample")
SCHEDULES: dict[str, dict[str, Any]] = {
    "linear": {},
    "scaled": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "short": {"num_train_timesteps": 100, "beta_end": 0.1},
    "given": {"num_train_timesteps": 4, "trained_betas": [0.1, 0.2, 0.3, 0.9]},
}
TINY: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}


def unet(channels: int = 1, **changes: Any) -> Any:
    torch.manual_seed(0)
    network = diffusers.UNet2DModel(**{**TINY, "in_channels": channels, "out_channels": channels, **changes}).eval()
    return network.requires_grad_(False)


def scheduler(kind: str = "DDPMScheduler", **changes: Any) -> Any:
    return getattr(diffusers, kind)(**changes)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_those_of_diffusers(name: str) -> None:
    theirs = scheduler(**SCHEDULES[name])
    config, notes = read_schedule(theirs.config, "here")
    torch.testing.assert_close(schedule_alphas(config).float(), theirs.alphas_cumprod, rtol=5e-5, atol=0)
    assert "clip_sample is left out: paths are not clipped" in notes


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "rgb"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_denoiser_is_the_network_and_a_formula(prediction: str, channels: int) -> None:
    network, schedule = unet(channels), ScheduleConfig(prediction_type=prediction)
    denoiser = DiffusersDenoiser(network, schedule, 0)
    alphas = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    for timestep in (0, 1, 137, 500, 998, 999):
        a = alphas[timestep]
        seen = noise(2, channels, 8, 8).double()  # sqrt(a) data + sqrt(1 - a) noise
        told = network(seen.float(), timestep).sample.double()
        data = {
            "epsilon": (seen - (1 - a).sqrt() * told) / a.sqrt(),
            "v_prediction": a.sqrt() * seen - (1 - a).sqrt() * told,
            "sample": told,
        }[prediction]
        ours = denoiser(seen / a.sqrt(), ((1 - a) / a).sqrt().expand(2))
        torch.testing.assert_close(ours, data, rtol=1e-5, atol=1e-5)


ENDS_IN_NOISE: dict[str, dict[str, Any]] = {"linear": {}, "cosine": {"beta_schedule": "squaredcos_cap_v2"}}
ENDS_IN_A_SIGNAL: dict[str, dict[str, Any]] = {
    "scaled": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "short": {"num_train_timesteps": 200},
}


def same_path(network: Any, steps: int, start: Tensor, **changes: Any) -> None:
    """Ours is diffusers' own DDIM from the same unit noise, every state of it."""
    theirs = scheduler("DDIMScheduler", clip_sample=False, timestep_spacing="trailing", **changes)
    teacher = from_diffusers(SimpleNamespace(unet=network, scheduler=theirs), solver="ddim")
    path = teacher.path(start, steps=steps).double()
    assert teacher.evaluations(steps) == steps
    theirs.set_timesteps(steps)
    levels = torch.tensor(teacher.levels(steps), dtype=torch.float64)
    x = start
    for state, sigma, timestep in zip(path, levels, theirs.timesteps, strict=False):
        torch.testing.assert_close(state / (1 + sigma**2).sqrt(), x.double(), rtol=1e-4, atol=1e-4)
        x = theirs.step(network(x.float(), timestep).sample, timestep, x, eta=0.0).prev_sample
    torch.testing.assert_close(path[-1], x.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "rgb"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_ddim_is_diffusers_ddim(prediction: str, channels: int) -> None:
    same_path(unet(channels), 10, noise(2, channels, 8, 8), prediction_type=prediction)


@pytest.mark.parametrize("name", [*ENDS_IN_NOISE, *ENDS_IN_A_SIGNAL])
@pytest.mark.filterwarnings("ignore:this schedule does not end in noise")
def test_ddim_starts_where_diffusers_starts_it(name: str) -> None:
    schedule = (ENDS_IN_NOISE | ENDS_IN_A_SIGNAL)[name]
    same_path(unet(1), 10, noise(2, 1, 8, 8), **schedule)


@pytest.mark.parametrize("name", ENDS_IN_A_SIGNAL)
def test_a_terminal_signal_is_said_aloud(name: str, tmp_path: Path) -> None:
    network, theirs = unet(1), scheduler(**ENDS_IN_A_SIGNAL[name])
    last = float(theirs.alphas_cumprod[-1]) ** 0.5
    with pytest.warns(UserWarning, match=f"still shows {last:.2g} of the data"):
        teacher = from_diffusers(network, theirs)
    assert teacher.noise_scale == pytest.approx(1 / last, rel=1e-4)  # unit noise, over sqrt(abar)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        notes = read_pipeline(saved(tmp_path, network=unet(3), **ENDS_IN_A_SIGNAL[name])).notes  # said by the command
    assert any("does not end in noise" in note for note in notes)


@pytest.mark.parametrize("name", ENDS_IN_NOISE)
def test_nothing_is_said_where_there_is_none(name: str, recwarn: pytest.WarningsRecorder) -> None:
    theirs = scheduler(**ENDS_IN_NOISE[name])
    teacher = from_diffusers(unet(1), theirs)
    assert not [warning for warning in recwarn if "schedule" in str(warning.message)]
    assert teacher.noise_scale == teacher.levels(7)[0]  # which is not the last one
    assert teacher.path(noise(1, 1, 8, 8), steps=1).isfinite().all()


@pytest.mark.parametrize("solver", ["heun", "ddim"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_level_is_that_of_a_timestep(name: str, solver: str) -> None:
    config = DiffusersConfig.parse(
        {"network": {**TINY}, "schedule": SCHEDULES[name], "solver": solver},
        "here",
    )
    table, timesteps = ddpm_sigmas(schedule_alphas(config.schedule)), timesteps_of(config)
    most = int((table <= 80).sum()) if solver == "heun" else len(table)
    for steps in {1, 2, min(18, most), most}:
        levels = timesteps.levels(steps)
        assert levels.shape == (steps + 1,) and float(levels[-1]) == 0.0 and bool((levels.diff() < 0).all())
        assert set(levels[:-1].tolist()) <= set(table.tolist())
        assert float(levels[0]) == float(table[most - 1])
        assert timesteps.nearest(levels[:-1].float()).tolist() == [table.tolist().index(x) for x in levels[:-1]]
    for steps in (0, most + 1):
        with pytest.raises(UsageError, match=f"at most the {most} timesteps"):
            timesteps.levels(steps)


@pytest.mark.filterwarnings("ignore:this schedule does not end in noise")
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("spacing", ["edm", "trailing", "linspace"])
def test_a_pipeline_and_its_epsilon_function_are_one_teacher(name: str, spacing: Any) -> None:
    network, theirs = unet(1), scheduler(**SCHEDULES[name])
    whole = from_diffusers(network, theirs, timesteps=spacing)
    alphas = schedule_alphas(read_schedule(theirs.config, "here")[0])
    bare = from_epsilon(lambda x, t, _: network(x, t).sample, (1, 8, 8), alphas_cumprod=alphas, timesteps=spacing)
    assert (whole.levels(3), whole.noise_scale) == (bare.levels(3), bare.noise_scale)
    ours, same = (teacher.path(noise(2, 1, 8, 8), steps=3) for teacher in (whole, bare))
    # from_diffusers rounds states to float32 on their way in, which a cosine schedule's 20,000 makes something of
    torch.testing.assert_close(ours, same, rtol=1e-4, atol=1e-4 + 1e-7 * whole.noise_scale**2)


SPACINGS: tuple[Any, ...] = (None, "edm", "linspace")


def test_the_spacing_is_part_of_who_made_a_path() -> None:
    identities = [from_diffusers(unet(1), scheduler(), timesteps=t).identity(3) for t in SPACINGS]
    assert [identity.solver for identity in identities] == ["heun", "heun", "heun timesteps=linspace"]
    with pytest.raises(UsageError, match="field 'timesteps' got 'leading'"):
        from_diffusers(unet(1), scheduler(), timesteps="leading")  # type: ignore[arg-type]


class Gaussian(nn.Module):
    """The exact network for data of standard deviation 0.3, in each of the three languages."""

    def __init__(self, prediction: str) -> None:
        super().__init__()
        self.anchor, self.prediction = nn.Parameter(torch.zeros(())), prediction
        self.config = {"_class_name": "UNet2DModel", **TINY, "in_channels": 1, "out_channels": 1}
        self.alphas = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)

    def forward(self, x: Tensor, timestep: Tensor, class_labels: None, return_dict: bool) -> tuple[Tensor]:
        a = self.alphas[timestep][:, None, None, None]
        data = x * a.sqrt() * 0.09 / (a * 0.09 + 1 - a)
        epsilon = (x - a.sqrt() * data) / (1 - a).sqrt()
        v = a.sqrt() * epsilon - (1 - a).sqrt() * data
        return ({"epsilon": epsilon, "v_prediction": v, "sample": data}[self.prediction].float(),)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_path_is_the_gaussian_s_own(prediction: str) -> None:
    teacher = from_diffusers(Gaussian(prediction), SimpleNamespace(config={"prediction_type": prediction}))
    sigmas = torch.tensor(teacher.levels(60), dtype=torch.float64)
    start = noise(4, 1, 8, 8).double() * teacher.noise_scale
    exact = ((0.09 + sigmas**2) / (0.09 + sigmas[0] ** 2)).sqrt().reshape(-1, 1, 1, 1, 1) * start
    torch.testing.assert_close(teacher.path(noise(4, 1, 8, 8), steps=60).double(), exact, rtol=0.01, atol=0.002)
    assert teacher.noise_scale == pytest.approx(80, rel=0.02) and teacher.evaluations(18) == 35


def test_class_labels_reach_the_network() -> None:
    network = unet(3, num_class_embeds=5)
    teacher = from_diffusers(network, scheduler(), name="mine", data_scale=0.4)
    assert (teacher.num_classes, teacher.shape, teacher.name, teacher.data_scale) == (5, (3, 8, 8), "mine", 0.4)
    denoiser, labels = DiffusersDenoiser(network, ScheduleConfig(), 5), torch.tensor([4, 0])
    sigma = ddpm_sigmas(schedule_alphas(ScheduleConfig()))[300]
    x = noise(2, 3, 8, 8).double()
    told = network((x / (1 + sigma**2).sqrt()).float(), 300, class_labels=labels).sample
    torch.testing.assert_close(denoiser(x, sigma.expand(2), labels), x - sigma * told, rtol=1e-5, atol=1e-5)
    ends = [teacher.path(noise(2, 3, 8, 8), torch.full((2,), label), steps=2)[-1] for label in (0, 1)]
    assert float((ends[0] - ends[1]).abs().max()) > 1e-4
    with pytest.raises(UsageError, match="conditional: give class_labels"):
        teacher.path(noise(2, 3, 8, 8), steps=2)


def test_a_learned_variance_is_left_away() -> None:
    network = unet(1, out_channels=2)
    denoiser = DiffusersDenoiser(network, ScheduleConfig(prediction_type="sample"), 0)
    x = noise(2, 1, 8, 8)
    sigma = denoiser.timesteps.sigmas[10]
    told = network((x.double() / (1 + sigma**2).sqrt()).float(), 10).sample[:, :1]
    torch.testing.assert_close(denoiser(x, sigma.expand(2)).float(), told)


def test_in_memory_the_network_stays_where_it_is_and_is_read_only_for_eval() -> None:
    network = unet(1, dropout=0.5).train()
    pipeline = diffusers.DDIMPipeline(network, scheduler())
    teacher = from_diffusers(pipeline)
    assert not network.training
    assert torch.equal(teacher.path(noise(1, 1, 8, 8), steps=2), teacher.path(noise(1, 1, 8, 8), steps=2))
    with pytest.raises(UsageError, match="UNet2DModel and its scheduler"):
        from_diffusers(network)
    with pytest.raises(UsageError, match="field 'solver' got 'magic'"):
        from_diffusers(pipeline, solver="magic")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("TCDScheduler", {}),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        ("LCMScheduler", {}),
    ],
)
def test_a_scheduler_that_draws_noise_is_refused(pipeline: Path, tmp_path: Path, name: str, settings: Any) -> None:
    words = f"a {name} draws noise along the way.*DDIMScheduler.from_config"
    with pytest.raises(UsageError, match=words):
        from_diffusers(unet(1), getattr(diffusers, name)(**settings))
    if not settings:
        folder = tmp_path / "pipe"
        shutil.copytree(pipeline, folder)
        index = folder / "model_index.json"
        index.write_text(index.read_text().replace("DDPMScheduler", name))
        with pytest.raises(UsageError, match=words):
            read_pipeline(folder)


def saved(folder: Path, *, network: Any = None, kind: str = "DDPMScheduler", **schedule: Any) -> Path:
    pipeline = diffusers.DDPMPipeline(network or unet(3), scheduler(kind, **schedule))
    pipeline.save_pretrained(folder)
    return folder


def converted(folder: Path, out: Path) -> Path:
    found = read_pipeline(folder)
    model = build_diffusers(found.config)
    model.load_state_dict(found.tensors)
    save_teacher(out, TeacherHeader(config=found.config, name="mine"), model)
    return out


@pytest.mark.parametrize("kind", ["DDPMScheduler", "DDIMScheduler"])
def test_from_a_folder_to_a_file_to_the_same_path(tmp_path: Path, kind: str) -> None:
    network = unet(3, num_class_embeds=4)
    folder = saved(tmp_path / "pipe", network=network, kind=kind, prediction_type="v_prediction")
    assert is_pipeline(folder) and not is_pipeline(tmp_path)
    file = read_teacher_file(converted(folder, tmp_path / "t.safetensors"))
    assert file.parameters == sum(p.numel() for p in network.parameters())
    assert file.header.config.schedule.prediction_type == "v_prediction"
    labels = torch.tensor([1, 3])
    ours = file.teacher.path(noise(2, 3, 8, 8), labels, steps=3)
    theirs = from_diffusers(network, scheduler(prediction_type="v_prediction"))
    assert torch.equal(ours, theirs.path(noise(2, 3, 8, 8), labels, steps=3))
    assert DiffusersConfig.parse(dump(file.header.config), "again") == file.header.config


def test_the_command_converts_a_folder(tmp_path: Path) -> None:
    network = unet(3)
    folder, out = saved(tmp_path / "ddpm-tiny", network=network), tmp_path / "t.safetensors"
    assert sniff(folder) == "diffusers"
    assert run(["teacher", "convert", str(folder), "--out", str(out), "-o", "solver=ddim", "-o", "data_scale=0.3"]) == 0
    file = read_teacher_file(out)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    assert (file.header.name, file.header.source["format"]) == ("ddpm-tiny", "diffusers")
    assert file.header.source["weights_sha256"] == sha256_file(weights)
    theirs = from_diffusers(network, scheduler(), solver="ddim", data_scale=0.3)
    assert torch.equal(file.teacher.path(noise(2, 3, 8, 8), steps=3), theirs.path(noise(2, 3, 8, 8), steps=3))
    assert file.teacher.identity(3).model_copy(update={"name": "diffusers", "sha256": ""}) == theirs.identity(3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("solver=magic", "field 'config.solver' got 'magic'"),
        ("network.dropout=0.5", "what the weights are"),
        ("schedule.beta_end=0.5", "what the weights are"),
        ("sigma_maxx=3", "did you mean sigma_max?"),
    ],
)
def test_a_change_that_cannot_be(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, words: str
) -> None:
    assert run(["teacher", "convert", str(pipeline), "--out", str(tmp_path / "t"), "-o", change]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "t").exists()


def as_in_2022(folder: Path) -> None:
    """Both parts beside the index, attention layers by their old names, weights in a .bin, a short config."""
    weights, _ = load_tensors(folder / "unet" / "diffusion_pytorch_model.safetensors")
    for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
        weights = {name.replace(f".{new}.", f".{old}."): value for name, value in weights.items()}
    assert any(".proj_attn." in name for name in weights)
    torch.save(weights, folder / "diffusion_pytorch_model.bin")
    config = json.loads((folder / "unet" / "config.json").read_text())
    kept = {name: value for name, value in config.items() if value is not None and name != "add_attention"}
    (folder / "config.json").write_text(json.dumps(kept | {"surprise": None}))
    (folder / "scheduler" / "scheduler_config.json").rename(folder / "scheduler_config.json")
    for path in sorted(folder.rglob("*/*"), reverse=True):
        path.unlink()
    for part in ("unet", "scheduler"):
        (folder / part).rmdir()


def test_folders_of_2022(tmp_path: Path) -> None:
    network = unet(3)
    folder = saved(tmp_path / "pipe", network=network)
    as_in_2022(folder)
    teacher = read_teacher_file(converted(folder, tmp_path / "t.safetensors")).teacher
    theirs = from_diffusers(network, scheduler())
    assert torch.equal(teacher.path(noise(2, 3, 8, 8), steps=3), theirs.path(noise(2, 3, 8, 8), steps=3))


Change = Callable[[Path], Any]


def index(**changes: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / "model_index.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def described(part: str, **changes: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / part / ("config.json" if part == "unet" else "scheduler_config.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def weights(change_tensors: Callable[[dict[str, Tensor]], Any]) -> Change:
    def change(folder: Path) -> None:
        path = folder / "unet" / "diffusion_pytorch_model.safetensors"
        tensors, _ = load_tensors(path)
        change_tensors(tensors)
        save_tensors(path, tensors)

    return change


REFUSED: list[tuple[Change, str]] = [
    (index(vae=["diffusers", "AutoencoderKL"]), "has a 'vae' (diffusers.AutoencoderKL): a latent"),
    (index(vqvae=["diffusers", "VQModel"]), "has a 'vqvae'"),
    (index(unet=["diffusers", "UNet2DConditionModel"]), "the 'unet' of"),
    (index(unet=["my_code", "UNet2DModel"]), "is my_code.UNet2DModel; supported are pixel-space"),
    (index(scheduler=["diffusers", "CMStochasticIterativeScheduler"]), "CMStochasticIterativeScheduler; supported are"),
    (index(unet=None, transformer=["diffusers", "DiTTransformer2DModel"]), "has a 'transformer'"),
    (lambda folder: (folder / "model_index.json").write_text("[]"), "no JSON object"),
    (lambda folder: (folder / "model_index.json").write_text("{"), "not readable JSON"),
    (lambda folder: (folder / "model_index.json").write_text("{}"), "names no 'unet'"),
    (lambda folder: (folder / "unet" / "config.json").unlink(), "config.json"),
    (lambda folder: (folder / "scheduler" / "scheduler_config.json").unlink(), "no scheduler_config.json"),
    (lambda folder: (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink(), "has neither"),
    (described("unet", _class_name="UNet2DConditionModel"), "describes a 'UNet2DConditionModel'; supported are"),
    (described("unet", _class_name=["os", "system"]), "describes a"),
    (described("unet", cross_attention_dim=7), "unknown field 'cross_attention_dim'"),
    (described("unet", down_block_types=["os.system", "DownBlock2D"]), "down_block_types"),
    (described("unet", down_block_types=["DownBlock2D"]), "of one length"),
    (described("unet", time_embedding_type="fourier"), "time_embedding_type"),
    (described("unet", time_embedding_type="learned", num_train_timesteps=10), "learned time embedding"),
    (described("unet", class_embed_type="timestep"), "class_embed_type"),
    (described("unet", sample_size=7), "divisible by 2"),
    (described("unet", sample_size=None), "sample_size"),
    (described("unet", out_channels=4), "out_channels"),
    (described("unet", norm_num_groups=5), "diffusers cannot build this UNet2DModel"),
    (described("unet", block_out_channels=[8, 24]), "the network it describes has"),
    (described("scheduler", _class_name="ScoreSdeVeScheduler"), "describes a 'ScoreSdeVeScheduler'"),
    (described("scheduler", beta_schedule="laplace"), "beta_schedule"),
    (described("scheduler", prediction_type="flow"), "prediction_type"),
    (described("scheduler", rescale_betas_zero_snr=True), "infinite noise"),
    (described("scheduler", trained_betas=[0.1, 0.2]), "trained_betas must be 1000 numbers"),
    (described("scheduler", num_train_timesteps=2, trained_betas=[0.1, 1.2]), "between 0 and 1"),
    (described("scheduler", use_karras_sigmas=True), "unknown field 'use_karras_sigmas'"),
    (weights(lambda tensors: tensors.pop("conv_in.bias")), "1 missing (model.conv_in.bias)"),
    (weights(lambda tensors: tensors.update(extra=torch.zeros(1))), "1 too many (model.extra)"),
    (weights(lambda tensors: tensors["conv_in.bias"].fill_(float("nan"))), "model.conv_in.bias holds NaN"),
]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("pipelines") / "good")


@pytest.mark.parametrize(("change", "words"), REFUSED, ids=[words[:40] for _, words in REFUSED])
def test_what_is_no_such_pipeline_is_refused(pipeline: Path, tmp_path: Path, change: Change, words: str) -> None:
    folder = tmp_path / "pipe"
    for path in pipeline.rglob("*.*"):
        (folder / path.relative_to(pipeline)).parent.mkdir(parents=True, exist_ok=True)
        (folder / path.relative_to(pipeline)).write_bytes(path.read_bytes())
    assert read_pipeline(folder).config.shape == (3, 8, 8)
    change(folder)
    with pytest.raises(KoopstepError) as caught:
        read_pipeline(folder)
    message = str(caught.value)
    assert isinstance(caught.value, UsageError | DamagedError)
    assert words in message and "\n" not in message
    assert str(folder) in message or "cannot build" in message


def test_nothing_is_fetched_and_no_code_beside_the_weights_runs(pipeline: Path) -> None:
    def alarm(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and (
            event.startswith("socket.") or (event == "open" and str(arguments[0]).endswith("pipeline.py"))
        ):
            seen.append(event)

    watching, seen = False, list[str]()
    sys.addaudithook(alarm)
    for name in ("pipeline.py", "unet/pipeline.py"):
        (pipeline / name).write_text("raise SystemExit('this code was run')")
    watching = True
    build_diffusers(read_pipeline(pipeline).config)
    watching = False
    assert seen == []


def test_without_diffusers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = DiffusersConfig.parse({"network": TINY}, "here")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UsageError, match=r"pip install koopstep\[diffusers\]"):
        build_diffusers(config)


class _Stale(ModuleType):
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("Failed to import diffusers.models\nbecause of transformers")


def test_a_diffusers_that_does_not_import_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    config = DiffusersConfig.parse({"network": TINY}, "here")
    monkeypatch.setitem(sys.modules, "diffusers", _Stale("diffusers"))
    with pytest.raises(UsageError, match=r"cannot be imported .Failed to import .* does not fit it") as caught:
        build_diffusers(config)
    assert "\n" not in str(caught.value)
