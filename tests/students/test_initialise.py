"""A student that starts from its teacher is the teacher's own one-step guess."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from koopstep.core.errors import UsageError
from koopstep.core.noise import gaussian
from koopstep.core.records import Batch
from koopstep.nets.mlp import MLPConfig
from koopstep.nets.unet import UNetConfig
from koopstep.operators.dense import DenseConfig
from koopstep.students.hkd import HKDConfig
from koopstep.students.initialise import config_from_teacher, note_on_start, start_from_teacher
from koopstep.students.kdm import KDMConfig, build_kdm
from koopstep.students.student import DataFacts
from koopstep.students.table import build_student
from koopstep.teachers.edm import EDMConfig, build_edm
from koopstep.teachers.files import TeacherFile, TeacherHeader, read_teacher_file, save_teacher

UNET = UNetConfig(model_channels=4, channel_mult=(1, 2), channel_mult_emb=1, num_blocks=1, attention_resolutions=())
SILENT = MLPConfig(width=8, depth=1, output_scale=0.0)


def teacher_file(path: Path, num_classes: int = 3, network: UNetConfig = UNET) -> TeacherFile:
    config = EDMConfig(shape=(1, 4, 4), num_classes=num_classes, network=network, sigma_max=80.0)
    torch.manual_seed(0)
    model = build_edm(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    save_teacher(path, TeacherHeader(config=config, name="small"), model)
    return read_teacher_file(path)


def student_config(decoder: UNetConfig | MLPConfig = UNET, latent: int = 16, planes: int = 1) -> KDMConfig:
    return KDMConfig(
        encoder=SILENT,
        decoder=decoder,
        operator=DenseConfig(),
        latent=latent,
        latent_channels=planes,
        carry=1.0,
    )


def facts(num_classes: int = 3) -> DataFacts:
    return DataFacts(shape=(1, 4, 4), num_classes=num_classes, noise_scale=80.0, data_scale=0.5)


def test_the_fresh_student_is_the_teacher_s_one_step_guess(tmp_path: Path) -> None:
    teacher = teacher_file(tmp_path / "t")
    student = build_kdm(config_from_teacher(student_config(), teacher.header.config), facts())
    start_from_teacher(student, teacher)
    noise, labels = torch.randn(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
    guess = teacher.model(80.0 * noise, torch.tensor(80.0), labels)
    with torch.no_grad():
        sample = student.generate(noise, labels)
    assert float(guess.std()) > 0.05
    assert float((sample - guess).abs().max()) < 0.03 * float(guess.std()) + 0.01  # EDM's skip adds c_skip * 80 < 0.004


def test_what_a_teacher_had_for_its_training_only_may_differ(tmp_path: Path) -> None:
    """Published networks were trained with dropout and augmentation labels; samplers give no labels."""
    trained = UNET.model_copy(update={"dropout": 0.13, "augment_channels": 9})
    teacher, x = teacher_file(tmp_path / "t", network=trained), torch.randn(2, 1, 4, 4)
    labels = torch.tensor([0, 2])
    for decoder in (UNET, trained):
        config = config_from_teacher(student_config(decoder), teacher.header.config)
        student = build_kdm(config, facts()).eval()
        start_from_teacher(student, teacher)
        own = student.codec.decoder_network()
        assert ("map_augment.weight" in own.state_dict()) == bool(decoder.augment_channels)
        torch.testing.assert_close(own(x, torch.zeros(2), labels), teacher.model.model(x, torch.zeros(2), labels))  # type: ignore[operator]
    plain = teacher_file(tmp_path / "plain")
    with pytest.raises(UsageError, match=r"does not fit the student's decoder: .*map_augment"):
        start_from_teacher(build_kdm(config_from_teacher(student_config(trained), plain.header.config), facts()), plain)


def test_the_teacher_s_weights_are_copied_not_shared(tmp_path: Path) -> None:
    teacher = teacher_file(tmp_path / "t")
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    student = build_kdm(config_from_teacher(student_config(), teacher.header.config), facts())
    start_from_teacher(student, teacher)
    assert all(parameter.requires_grad for parameter in student.parameters())
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in teacher.model.state_dict().items())


def test_other_networks_are_named(tmp_path: Path) -> None:
    teacher = teacher_file(tmp_path / "t")
    with pytest.raises(UsageError, match="decoder must be its network"):
        config_from_teacher(student_config(UNET.model_copy(update={"num_blocks": 2})), teacher.header.config)
    two_planes = config_from_teacher(student_config(latent=32, planes=2), teacher.header.config)
    with pytest.raises(UsageError, match="does not fit the student's decoder"):
        start_from_teacher(build_kdm(two_planes, facts()), teacher)
    with pytest.raises(UsageError, match="does not fit the student's decoder"):
        start_from_teacher(build_kdm(student_config(), facts(num_classes=0)), teacher)


def test_closed_forms_have_no_network_to_start_from(tmp_path: Path) -> None:
    from koopstep.teachers.analytic import GaussianConfig, build_gaussian

    config = GaussianConfig(dimension=2)
    save_teacher(tmp_path / "g", TeacherHeader(config=config, name="g"), build_gaussian(config))
    with pytest.raises(UsageError, match="initialise=fresh"):
        config_from_teacher(student_config(), read_teacher_file(tmp_path / "g").header.config)


@pytest.mark.parametrize("observables", ["free", "linear", "normalised"])
@pytest.mark.parametrize("noise_scale", [1.0, 20.0, 158.0])
def test_a_fresh_path_student_starts_at_the_datas_size_whatever_the_noise(observables: str, noise_scale: float) -> None:
    facts = DataFacts(shape=(64,), noise_scale=noise_scale, data_scale=0.28, levels=(noise_scale, 0.0))
    network = {"kind": "mlp", "width": 16, "depth": 2, "fourier": 0}
    config = HKDConfig.parse({"network": network, "observables": observables, "latent": 64}, "student")
    student = build_student(config, facts)
    noise = gaussian(0, range(64), (64,))
    with torch.no_grad():
        assert float(student.generate(noise).square().mean()) < 30 * 0.28**2
    batch = Batch(noise, torch.stack([noise * noise_scale, 0.28 * noise]), torch.tensor([0.0, 1.0]))
    assert note_on_start(student, batch) == ""


def test_a_start_that_is_as_large_as_the_noise_is_said_aloud() -> None:
    facts = DataFacts(shape=(4,), noise_scale=158.0, data_scale=0.28, levels=(158.0, 0.0))
    config = HKDConfig.parse(
        {"network": {"kind": "linear"}, "observables": "linear", "latent": 4, "operator": {"kind": "dense"}}, "student"
    )
    student, noise = build_student(config, facts), gaussian(0, range(64), (4,))
    batch = Batch(noise, torch.stack([noise * 158, 0.28 * noise]), torch.tensor([0.0, 1.0]))
    assert "noise of size 158" in note_on_start(student, batch)
