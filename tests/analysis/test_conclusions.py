"""Conclusions say what the data says: another result, another sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from koopstep.analysis.band_findings import order_finding
from koopstep.analysis.bands import Band
from koopstep.analysis.control import Control
from koopstep.analysis.cumulative import Cumulative, path_sentence
from koopstep.analysis.linearity import Linearity, straight_sentence
from koopstep.analysis.memorisation import memorisation
from koopstep.analysis.neighbours import SharedOutcome, copy_sentence, neighbour_sentence
from koopstep.analysis.outliers import Outliers, outlier_sentence
from koopstep.analysis.rates import RateReading, effect_sentence, eigenvalue_sentence, rate_sentence
from koopstep.analysis.spectrum import summarise
from koopstep.analysis.trajectory import Film, film_sentence
from koopstep.analysis.vicinity import Vicinity, vicinity_sentence
from koopstep.analysis.words import listed, percent, short
from koopstep.core.noise import gaussian
from koopstep.editing.fill import fill_sentence
from koopstep.editing.mix_findings import mix_sentence
from koopstep.operators.rates import Rates
from koopstep.operators.spectrum import Spectrum
from koopstep.workflows.analyze_steps import main_metric, steps_sentence


def test_numbers_as_people_read_them() -> None:
    told = [short(value) for value in (0.0, 0.012345, 4.5678, 99.96, 1234.5, -0.5, 3.2e-7, float("nan"))]
    assert told == ["0", "0.0123", "4.57", "100.0", "1,234", "-0.500", "3.2e-07", "unknown"]
    assert [percent(share) for share in (0, 0.004, 0.096, 0.5, 0.999, 1)] == [
        "0 %",
        "0.4 %",
        "9.6 %",
        "50 %",
        ">99 %",
        "100 %",
    ]
    assert [listed("a"), listed("ab"), listed("abc")] == ["a", "a and b", "a, b and c"]


def eigenvalues(*values: complex) -> str:
    return eigenvalue_sentence(summarise([Spectrum(torch.tensor(values, dtype=torch.complex128))]))


def test_a_spectrum() -> None:
    told = eigenvalues(0.5, 1.0, 0.6j, -0.6j)
    assert "Of 4 eigenvalues 3 decay over the path, 1 keep their size and 0 grow (modulus 0.500 to 1.00)" in told
    assert "1 conjugate pairs rotate" in told
    assert "0 decay" in eigenvalues(2.0, 3.0) and "2 grow" in eigenvalues(2.0, 3.0)
    assert eigenvalues(1.0, 1.0) == "All 2 eigenvalues are 1: the operator leaves the latent as it is."


def reading(alpha: float, beta: float, effect: float) -> RateReading:
    rates = Rates(torch.full((6, 1, 1), alpha), torch.full((6, 1, 1), beta))
    sizes = {"smallest": 0.01, "middle": 0.01, "largest": effect}
    bands = [Band("real", name, zeros(1), zeros(size), 0.3, None) for name, size in sizes.items()]
    return RateReading([], [rates], {"a": {"beta_size": beta}}, bands, CONTROL)


def zeros(effect: float) -> Tensor:
    return torch.full((4, 2), effect**0.5)


CONTROL = Control(torch.linspace(0.01, 0.02, 39 * 3).view(39, 3), None)


def test_rates_and_their_effect() -> None:
    still, turning = rate_sentence(reading(0.0, 0.0, 0.1)), rate_sentence(reading(-0.7, 3.0, 0.1))
    assert "leaves the latent as it is" in still
    assert "factor of 0.497 to 0.497" in turning and "rotate by 3.00 radians" in turning and "100 % rotate" in turning
    assert "third of largest growth samples change by 0.100, which is more than random" in effect_sentence(
        reading(0, 0, 0.1)
    )
    assert "is no more than random thirds do (52 % of random draws have one as large)" in effect_sentence(
        reading(0, 0, 0.015)
    )
    few = effect_sentence(replace(reading(0, 0, 0.015), control=None))
    assert few == "Without the third of largest growth samples change by 0.0150."


def test_bands() -> None:
    strong, weak = (order_finding(reading(0, 0, effect).bands, "real", CONTROL) for effect in (0.1, 0.012))
    assert "dropping the largest third changes the sample by 0.100 (the others 0.0100 and 0.0100" in strong
    assert strong.endswith(", more than random thirds do (2.5 % of random draws have one as large)")
    assert ", no more than random thirds do (" in weak
    assert order_finding(reading(0, 0, 0.1).bands, "real", None).endswith("(the others 0.0100 and 0.0100)")
    images = [
        replace(band, effect=torch.randn(16, 1, 4, 4, generator=torch.Generator().manual_seed(0)))
        for band in reading(0, 0, 0.1).bands
    ]
    gaps = torch.full((39,), 1.0, dtype=torch.float64)
    assert "does not stand out (100 % of random draws" in order_finding(images, "real", replace(CONTROL, gaps=gaps))
    flat = replace(images[1], effect=torch.ones(16, 1, 4, 4))
    clear = order_finding(
        [images[0], flat, replace(flat, band="largest")], "real", replace(CONTROL, gaps=gaps * 0 + 0.001)
    )
    assert "the smallest third writes the finest detail (2.5 % of random draws get as far)" in clear


def test_cumulative_shares() -> None:
    ends = {"smallest": [0.3, 0.1], "middle": [0.3, 0.3], "largest": [0.4, 0.6]}
    found = Cumulative("real", (0.0, 1.0), ends, {"smallest": [0, 0.1], "middle": [0, 0.2], "largest": [0, 0.9]})
    told = path_sentence(found)
    assert "third's share of the latent goes from" in told and "data depend most on the largest third" in told
    same = {band: [0.3, 0.3] for band in ends}
    told = path_sentence(replace(found, energy=same, decoded={band: [0.0, 0.5] for band in ends}))
    assert "no third's share" in told and "depend on all thirds alike" in told


def test_linearity() -> None:
    def found(error: float, still: float) -> str:
        row, unmoved = torch.tensor([[0.0, error, error]]), torch.tensor([[0.0, still, still]])
        return straight_sentence(
            Linearity(
                u=(0, 0.5, 1),
                levels=("a",),
                rows=1234,
                latent=row / 10,
                centred=row,
                still=unmoved / 5,  # a constant in the latent: the plain errors say nothing
                still_centred=unmoved,
                end=torch.zeros(3),
                read=None,
                endpoint=0.1,
            )
        )

    assert found(0.1, 1.0).startswith(
        "The latent path is close to linear: the evolved latent misses 0.100 of what differs"
    )
    assert "stands still 1.00, so the evolution explains 99 %" in found(0.1, 1.0)
    assert found(0.1, 1.0).endswith("(on 1,234 held-out rows).")
    assert found(0.5, 1.0).startswith("The latent path is partly linear")
    assert found(1.3, 25.0).startswith(
        "The latent path moves linearly but misses 130 % of its spread: the evolved latent"
    )
    assert found(0.19, 25.0).startswith("The latent path is close") and "but misses 21 %" in found(0.21, 25.0)
    assert found(0.31, 0.35).startswith("The operator does little for the latent path: the evolved latent misses 0.310")
    assert "stands still 0.350, so the evolution explains 22 %" in found(0.31, 0.35)
    assert "explains nothing of" in found(1.2, 1.0)
    assert found(0.1, 0.0).startswith("The latent hardly moves") and "1,234 held-out rows" in found(0.1, 0.0)


def test_outliers() -> None:
    def found(count: int, crowd: float = 50.0) -> Outliers:
        mask = torch.arange(100) < count
        return Outliers(mask, torch.ones(100), torch.where(mask, 0.0, 1.0), 0.15, 5, crowd)

    both = {"teacher": found(1), "student": found(4)}
    assert outlier_sentence(both).startswith(
        "4 of 100 student samples (4 %) lie apart from the others (of the teacher's 1 %)"
    )
    assert "100 % of them start next to noise of another cell" in outlier_sentence(both)
    assert outlier_sentence(both | {"student": found(0)}).startswith("None of 100 student samples lies apart")
    assert "too few samples" in outlier_sentence(both | {"student": found(4, 6.0)})


def test_vicinity() -> None:
    def told(student: float, **more: float) -> str:
        far = {
            name: {"mean squared distance": [0, 0, 0, value, 1, 1, 1]}
            for name, value in {"student": student, **more}.items()
        }
        sigmas = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
        return vicinity_sentence(Vicinity(sigmas, {}, far), {"mean squared distance": 0.5}, 64)

    assert "by 0.100, 20 % of what unrelated noise does, and as smoothly as" in told(0.1, teacher=0.1)
    assert told(0.1).startswith("On 64 held-out rows, noise moved by s = 0.3 moves the student's samples by 0.100")
    assert "more than the teacher's (0.0500, 10 %)" in told(0.1, teacher=0.05)
    assert "less than the teacher's" in told(0.1, teacher=0.2) and "not at hand" in told(0.1)


def test_neighbours_and_copies() -> None:
    def shared(student: float, teacher: float = 0.6) -> str:
        shares = {"untrained": 0.1, "teacher": teacher, "student": student}
        return neighbour_sentence({name: SharedOutcome(share, 0.1, 10, 50, 100) for name, share in shares.items()})

    assert shared(0.59).startswith("Near noise ends alike, as for the teacher: of the 10 nearest noises 59 %")
    assert shared(0.3).startswith("Near noise ends less alike") and shared(0.1).startswith("Where noise ends does not")
    assert shared(0.105, 0.1).startswith("Near noise ends no more alike than far noise, for the teacher as well")
    real, fresh = gaussian(0, range(300), (1, 2, 2)), gaussian(1, range(100), (1, 2, 2))
    new, copied = memorisation(fresh, real), memorisation(real[:100] + 1e-3 * fresh, real)
    assert "Samples are no copies beyond the teacher's" in copy_sentence({"teacher": new, "student": new})
    assert "copies of real ones more often" in copy_sentence({"teacher": new, "student": copied})


def test_trajectory() -> None:
    teacher = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
    film = Film((0, 0.5, 1), teacher.clone(), teacher, (0, 1), teacher[:2], reads_path=True)
    assert film_sentence(film).startswith("The student follows the teacher to its end: 0 apart, 0 % of what")
    assert "of what samples of other noise are (5 held-out rows)" in film_sentence(film) and film.summary()["rows"] == 5
    assert film_sentence(film).endswith("halfway its path is 0 from the teacher's.")
    astray = replace(film, student=teacher.roll(1, dims=1))
    assert "does not follow" in film_sentence(astray) and "100 % of what" in film_sentence(astray)
    assert "reads the end only" in film_sentence(replace(film, reads_path=False))


@pytest.mark.parametrize(
    ("metric", "one", "more", "word"),
    [
        ("frechet_pixel", 1.0, 0.5, "Further steps help: frechet_pixel goes from 1.00 in one step to 0.500 in 3 steps"),
        ("frechet_pixel", 0.4, 0.5, "Further steps do not help: frechet_pixel is 0.400 in one step and 0.500 at best"),
        ("in_cell", 0.4, 0.5, "Further steps help"),
        ("in_cell", 0.6, 0.5, "Further steps do not help"),
    ],
)
def test_steps(metric: str, one: float, more: float, word: str) -> None:
    scores = {"1": {"pair_mse": 0.1, metric: one}, "3": {"pair_mse": 0.2, metric: more}}
    assert main_metric(scores["1"]) == metric
    told = steps_sentence({"noise": scores}, {metric: 0.3}, metric, 125, {metric: 0.02})
    assert told.startswith(word) and "(teacher 0.300; 125 held-out rows)" in told
    assert "no difference that these rows can tell" in steps_sentence({"noise": scores}, {}, metric, 125, {metric: 0.2})
    assert "too few states" in steps_sentence({"noise": {"1": scores["1"]}}, {}, metric, 125, {})


def test_edits() -> None:
    errors = {"band": 0.01, "finest": 0.02, "all": 0.1, "chance": 0.05}
    values: dict[str, Any] = {
        "ratio": 0.9,
        "band": "middle",
        "order": "real",
        "levels": "all",
        "confined": True,
        "outside_over_inside": 0.02,
        "at_this_ratio": {"structure_error": errors},
    }
    assert "changes less structure than as many random modes (0.0100 against 0.0500; all modes 0.100)" in mix_sentence(
        values
    )
    assert "outside the mask it changes 2 % of what it does inside before it is pasted" in mix_sentence(values)
    more = values | {"at_this_ratio": {"structure_error": errors | {"band": 0.2}}, "outside_over_inside": None}
    assert "more structure than" in mix_sentence(more) and "the mask is the whole picture" in mix_sentence(more)
    filled: dict[str, Any] = {
        "what": "inpaint",
        "network_calls": 10,
        "count": 16,
        "results": {"ours": {"psnr": 18.0}, "mean_fill": {"psnr": 14.0}, "teacher": {"psnr": 19.0}},
    }
    assert fill_sentence(filled) == (
        "Filled in with 10 network calls: PSNR 18.0 dB over what was missing in 16 pictures, better than the mean "
        "fill (14.0 dB); the teacher reaches 19.0 dB with as many calls."
    )
    filled["results"]["ours"]["psnr"] = 12.0
    assert ", worse than the mean fill" in fill_sentence(filled)
    assert "in 4 pictures, on these few worse than the mean fill" in fill_sentence(filled | {"count": 4})
