"""Streaming moments of numbers, and whether they look like the noise a path starts from."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_NOMINAL = (80.0, 1.0)  # EDM's sigma_max; flow matching


class NumberStatistics:
    """Mean, standard deviation and kurtosis of all numbers added so far, in float64."""

    def __init__(self) -> None:
        self._count = 0
        self._sums = np.zeros(4)

    def add(self, values: npt.NDArray[np.floating]) -> None:
        """Add numbers of any shape."""
        flat = np.asarray(values, dtype=np.float64).reshape(-1)
        self._count += flat.size
        with np.errstate(over="ignore", invalid="ignore"):  # huge numbers give an infinite std: callers see it
            square = flat * flat
            self._sums += [flat.sum(), square.sum(), (square * flat).sum(), (square * square).sum()]

    def _raw(self) -> tuple[float, float, float, float]:
        a, b, c, d = (float(value) / max(self._count, 1) for value in self._sums)
        return a, b, c, d

    @property
    def mean(self) -> float:
        """The mean."""
        return self._raw()[0]

    @property
    def std(self) -> float:
        """The standard deviation."""
        mean, square, _, _ = self._raw()
        return math.sqrt(max(square - mean * mean, 0.0))

    @property
    def kurtosis(self) -> float:
        """The fourth standardised moment, 3 for a Gaussian; 0 where all numbers are equal."""
        m, square, cube, fourth = self._raw()
        variance = square - m * m
        if variance <= 0.0:
            return 0.0
        return (fourth - 4 * m * cube + 6 * m * m * square - 3 * m * m * m * m) / (variance * variance)

    def _near(self, nominal: float) -> bool:
        """Within half a percent, or four standard errors of a Gaussian sample's standard deviation, at most half."""
        tolerance = min(0.5, max(0.005, 4.0 / math.sqrt(2 * max(self._count, 1))))
        return abs(self.std / nominal - 1.0) <= tolerance

    def nominal_scale(self) -> float:
        """80 or 1 where the standard deviation agrees with that, else the standard deviation."""
        return next((nominal for nominal in _NOMINAL if self._near(nominal)), self.std)

    def looks_like_noise(self) -> bool:
        """Whether these could be Gaussian numbers of standard deviation 80 or 1 and mean 0."""
        n = max(self._count, 1)
        scale = self.std
        centred = abs(self.mean) <= scale * (0.01 + 4.0 / math.sqrt(n))
        gaussian = abs(self.kurtosis - 3.0) <= 0.1 + 4.0 * math.sqrt(24.0 / n)
        return centred and gaussian and any(self._near(nominal) for nominal in _NOMINAL)
