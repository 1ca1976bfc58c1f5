"""What students of whole paths (HKD) promise beside the contract of all: every place on the path, a flow, a spectrum each."""

from __future__ import annotations

import pytest
import torch
from student_members import HKD, IMAGE, MLP, UNET, VECTOR, Made, make

from koopstep.core.errors import UsageError
from koopstep.operators.spectral import SpectralConfig
from koopstep.students.hkd import HKDConfig
from koopstep.students.student import DataFacts
from koopstep.students.table import build_student


@pytest.fixture(params=sorted(HKD))
def made(request: pytest.FixtureRequest) -> Made:
    return make(HKD[request.param])


def test_rows_have_their_own_progress(made: Made) -> None:
    if not made.continuous:
        with pytest.raises(UsageError, match="this operator is discrete"):
            made.student.evolve(made.student.encode(made.rows(2), 0.4), torch.tensor([0.6, 0.6]))
        return
    rows, labels, u = made.rows(4), made.labels(4), torch.tensor([0.0, 0.3, 0.77, 1.0]).double()
    together = made.student.encode(rows, u, labels)
    moved = made.student.evolve(together, 1 - u, labels)
    read = made.student.decode(moved, u, labels)
    for i in range(4):
        label, at = None if labels is None else labels[[i]], float(u[i])
        alone = made.student.evolve(made.student.encode(rows[[i]], at, label), 1 - at, label)
        for level, other in zip(moved, alone, strict=True):
            torch.testing.assert_close(level[[i]], other, rtol=1e-5, atol=1e-5)  # levels are looked up in float32
        torch.testing.assert_close(read[[i]], made.student.decode(alone, at, label), rtol=1e-5, atol=1e-5)


def test_the_flow_is_a_group_unless_it_looks_at_the_state(made: Made) -> None:
    if not made.continuous:
        return
    latent = made.student.encode(made.rows(2), 0.4, made.labels(2))
    evolve = made.student.evolve
    split, whole, back = evolve(evolve(latent, 0.3), 0.5), evolve(latent, 0.8), evolve(evolve(latent, 0.8), -0.8)
    if not any(operator.state_dependent for operator in made.student.operators):
        for ours, theirs in ((split, whole), (back, latent)):
            for level, other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(level, other, rtol=1e-11, atol=1e-11)
    else:
        assert any(bool((a - b).abs().max() > 1e-6) for a, b in zip(split, whole, strict=True))


def test_a_level_is_what_its_operator_moves(made: Made) -> None:
    latent = made.student.encode(made.rows(3), 0.0, made.labels(3))
    shapes = [operator.shape for operator in made.student.operators]
    assert [tuple(level.shape[1:]) for level in latent] == shapes


def test_a_fresh_student_does_not_move_its_latent(made: Made) -> None:
    if made.config.operator.kind in ("factorised", "spectral", "modes"):
        return  # the first two start near the identity, not at it; modes at rates of their own
    if made.config.observables == "linear":
        return  # starts at the path's contraction: the raw state is as large as the noise
    fresh = build_student(made.config, made.facts)
    latent = fresh.encode(made.rows(2).float(), 0.0, made.labels(2))
    for level, moved in zip(
        latent, fresh.evolve(latent, torch.tensor([1.0, 0.5 if made.continuous else 0.0])), strict=True
    ):
        assert torch.equal(level, moved)  # bit for bit


def test_spectra_tell_every_level(made: Made) -> None:
    spectra = made.student.spectrum()
    assert [spectrum.level for spectrum in spectra] == list(made.student.level_names)
    assert len({spectrum.level for spectrum in spectra}) == len(spectra)
    pinned = made.config.observables != "free"
    assert all((spectrum.gauge == "fixed", bool(spectrum.pinned_by)) == (pinned, pinned) for spectrum in spectra)
    for spectrum, operator in zip(spectra, made.student.operators, strict=True):
        assert len(spectrum.eigenvalues) == operator.dimension
        rates = operator.rates()
        if rates is not None:
            every = rates.alpha.detach().expand(-1, *(operator.shape[1:] or (1, 1)))
            torch.testing.assert_close(spectrum.modulus()[::2], every.exp().flatten())


def test_sampling_needs_every_parameter(made: Made) -> None:
    everything, sampling = made.student.parameter_counts()
    assert everything == sampling == sum(p.numel() for p in made.student.parameters())
    assert len(made.student.controls) == 0  # its networks are told the class


@pytest.mark.parametrize(
    ("config", "facts", "words"),
    [
        (HKDConfig(), IMAGE, "student.network is missing"),
        (HKDConfig(network=MLP), IMAGE, "takes vectors, got shape"),
        (HKDConfig(network=UNET, observables="linear"), IMAGE, "linear observables are for vectors"),
        (HKDConfig(network=MLP, latent=5), VECTOR, "needs an even number of them, got 5"),
        (
            HKDConfig(network=MLP, operator=SpectralConfig(), latent=20_000),
            VECTOR,
            r"a level of shape \(20000,\) has 20000 numbers.*Choose operator.kind=block",
        ),
        (HKDConfig(network=MLP, latent=2, observables="carried"), VECTOR.model_copy(update={"shape": (3,)}), "needs 3"),
        (HKDConfig(network=MLP, latent=2), VECTOR.model_copy(update={"levels": (80.0, 0.0)}), "a level for each"),
    ],
)
def test_what_makes_no_student(config: HKDConfig, facts: DataFacts, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_student(config, facts)
