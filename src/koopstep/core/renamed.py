"""Names that settings had in version 0.1. Files of then are read as if they had today's; `-o` takes both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from koopstep.core.errors import UsageError

NAMES = {
    "adversary": "adversarial_loss",
    "adversary_data": "discriminator_data",
    "critic": "discriminator",
    "critic_net": "discriminator_net",
    "critic_learning_rate": "discriminator_learning_rate",
    "critic_betas": "discriminator_betas",
    "decoder_told": "decoder_condition",
}
"""Before -> today. None of the old names means anything else anywhere in our files."""

VALUES = {"sharing": {"place": "position"}}
"""Setting -> its value before -> today's."""


SINCE = {"objective.linearity_scale": '"state"'}
"""Settings that are newer than some checkpoints, as these keep settings: what a training did that says nothing of them."""


def renamed(settings: Any, where: str) -> Any:
    """A copy of plain nested ``settings`` with today's names and values.

    Raises:
        UsageError: if a setting is there under both of its names.
    """
    if isinstance(settings, list | tuple):
        return [renamed(value, where) for value in settings]
    if not isinstance(settings, Mapping):
        return settings
    result: dict[Any, Any] = {}
    for name, value in settings.items():
        today: Any = NAMES.get(name, name)
        if today != name and today in settings:
            raise UsageError(f"{where}: '{name}' is now called '{today}', and both are given; leave the first out")
        known = VALUES.get(today, {})
        result[today] = known.get(value, value) if isinstance(value, str) else renamed(value, where)
    return result


def renamed_path(path: str) -> str:
    """A dotted name such as ``training.critic_betas`` as it is today."""
    return ".".join(NAMES.get(part, part) for part in path.split("."))


def renamed_flat(flat: Mapping[str, str]) -> dict[str, str]:
    """Dotted names with values in JSON, as checkpoints keep them, as they are today."""
    result: dict[str, str] = {}
    for name, value in flat.items():
        today = renamed_path(name)
        changes = {json.dumps(old): json.dumps(new) for old, new in VALUES.get(today.split(".")[-1], {}).items()}
        result[today] = changes.get(value, value)
    return result
