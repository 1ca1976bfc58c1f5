"""Pictures of spectra say which eigenvalues passed: filled marks, hollow ones, and how many of each."""

from __future__ import annotations

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from koopstep.analysis.findings import Eigenvalues, LevelPlane, LevelRates, ResidualPlanes, View
from koopstep.figures.draw import draw_on
from koopstep.operators.rates import Rates
from koopstep.operators.spectrum import Spectrum

VALUES = torch.tensor([0.5 + 0.5j, 0.5 - 0.5j, -0.9 + 0j, 0.1 + 0j], dtype=torch.complex128)
PASSED = torch.tensor([True, True, False, False])


def panel_of(view: View) -> Axes:
    return draw_on(view).axes[0]


def legend_of(panel: Axes) -> list[str]:
    legend = panel.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def test_eigenvalues_are_filled_where_they_passed() -> None:
    panel = panel_of(Eigenvalues("a.png", [Spectrum(VALUES)], [PASSED]))
    hollow, filled = panel.collections
    assert legend_of(panel) == ["did not pass: 2", "passed: 2"]
    assert filled.get_offsets()[:, 1].tolist() == [0.5, -0.5] and len(filled.get_facecolor()) == 1
    assert len(hollow.get_facecolor()) == 0
    assert legend_of(panel_of(Eigenvalues("a.png", [Spectrum(VALUES)]))) == []
    assert legend_of(panel_of(Eigenvalues("a.png", [Spectrum(VALUES)], [None]))) == []


def test_rates_are_filled_where_they_passed() -> None:
    rates = Rates(torch.tensor([-0.5, 0.2, 0.3]).view(3, 1, 1), torch.ones(3, 1, 1))
    passed = torch.tensor([False, True, False]).view(3, 1, 1)
    panel = panel_of(LevelRates("a.png", "plane", ["level"], [rates], "free", [passed]))
    assert legend_of(panel) == ["did not pass: 2", "passed: 1"]
    assert legend_of(panel_of(LevelRates("a.png", "plane", ["level"], [rates], "free"))) == []


@pytest.mark.parametrize("flat", [False, True])
def test_residuals_lie_over_the_pseudospectrum(flat: bool) -> None:
    across, up = torch.linspace(-1, 1, 9, dtype=torch.float64), torch.linspace(0, 1, 5, dtype=torch.float64)
    grid = torch.complex(*torch.meshgrid(across, up, indexing="ij")).flatten()
    smallest = torch.full((45,), 0.7, dtype=torch.float64) if flat else (grid - 0.5).abs()
    residual = torch.tensor([0.01, 0.01, 0.5, torch.nan], dtype=torch.float64)
    level = LevelPlane("level", VALUES, residual, PASSED, VALUES, grid, smallest, (9, 5))
    figure = draw_on(ResidualPlanes("a.png", [level, level], 0.1, "title"))
    panel = figure.axes[0]
    assert {"passed", "did not pass", "EDMD"} == set(legend_of(panel))
    dots = panel.collections[-1]
    faces = [tuple(face) for face in dots.get_facecolor()]
    assert [face[3] for face in faces] == [1, 1, 0, 0]
    assert to_rgba(dots.get_edgecolor()[0]) == faces[0] != to_rgba(dots.get_edgecolor()[2])
