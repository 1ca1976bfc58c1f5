"""Sums of exponentials with shared rates, found again from states."""

from __future__ import annotations

import pytest
import torch

from koopstep.core.errors import UsageError
from koopstep.operators.variable_projection import fit_exponentials

U = torch.linspace(0, 1, 13, dtype=torch.float64)


def known_states() -> torch.Tensor:
    """A constant, a mode that turns, a decaying one and a remainder, of 40 paths in 5 dimensions."""
    draw = torch.randn(5, 40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = U[:, None, None]
    turning = (-1.5 * u).exp() * ((2.5 * u).cos() * draw[1] + (2.5 * u).sin() * draw[2])
    return draw[0] + turning + (-4 * u).exp() * draw[3] + (-9 * u).exp() * draw[4]


def test_rates_and_images_are_found_again() -> None:
    states = known_states()
    fit = fit_exponentials(states, U, 2, real=1)
    found = sorted((round(a, 3), abs(round(b, 3))) for a, b in zip(fit.alpha.tolist(), fit.beta.tolist(), strict=True))
    assert found == [(-9.0, 0.0), (-4.0, 0.0), (-1.5, 2.5), (0.0, 0.0)]
    assert fit.images.shape == (2, 4, 40, 5)
    torch.testing.assert_close(fit.images[0].sum(dim=0), states[0])
    torch.testing.assert_close(fit.states(U), states, rtol=0, atol=1e-4)
    assert float(fit.unexplained.max()) < 1e-4


def test_too_few_modes_leave_what_they_cannot_say() -> None:
    few, more = (fit_exponentials(known_states(), U, modes, real=modes) for modes in (0, 1))
    assert float(more.unexplained[1:].square().mean()) < float(few.unexplained[1:].square().mean())
    assert float(more.unexplained.max()) > 0.01
    assert float(few.unexplained[0]) < 1e-12  # u = 0 is exact by construction


def test_what_cannot_be_fitted_is_named() -> None:
    with pytest.raises(UsageError, match="9 rates cannot be found from 3 states"):
        fit_exponentials(known_states()[:4], U[:4], 4)
    with pytest.raises(UsageError, match="some of the 1 modes, got 2"):
        fit_exponentials(known_states(), U, 1, real=2)
    with pytest.raises(UsageError, match="progress from 0 on"):
        fit_exponentials(known_states(), U + 1, 1)
