"""A file's weights are compared with the network it describes before that network takes any memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from koopstep.core.errors import DamagedError
from koopstep.core.fit import check_fit, empty_network


def network(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))


def test_an_empty_network_has_the_names_and_shapes() -> None:
    empty = empty_network(network, 7, "F")
    assert all(part.is_meta for part in empty.state_dict().values())
    check_fit(empty, network().state_dict(), "F")
    assert not network()[0].weight.is_meta


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"more": torch.zeros(1)}, r"1 too many \(more\)"),
        ({"0.weight": torch.zeros(3, 3)}, r"size mismatch: 0\.weight has shape \(3, 3\), .* \(3, 2\)"),
    ],
)
def test_what_does_not_fit(change: dict[str, torch.Tensor], words: str) -> None:
    with pytest.raises(DamagedError, match=f"^F: the weights do not fit: .*{words}"):
        check_fit(empty_network(network, 7, "F"), network().state_dict() | change, "F")
    with pytest.raises(DamagedError, match=r"7 missing \(0\.bias, 0\.weight, 1\.bias, \.\.\.\)"):
        check_fit(empty_network(network, 7, "F"), {}, "F")


def test_building_stops_where_the_file_ends() -> None:
    built = []

    def endless() -> nn.Module:
        return nn.ModuleList(built.append(index) or nn.Linear(1, 1) for index in range(10**9))

    with pytest.raises(DamagedError, match="far more parts than the file's 3"):
        empty_network(endless, 3, "F")
    assert len(built) < 1_000
    nn.ModuleList(nn.Linear(1, 1) for _ in range(1_000))  # others are not counted afterwards


def test_sizes_that_no_memory_holds() -> None:
    with pytest.raises(DamagedError, match="no such network can be built"):
        empty_network(lambda: network(2**62), 7, "F")
