"""Settings that were renamed are read under their old names, in every file that holds settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from koopstep.core.config import dump
from koopstep.core.errors import UsageError
from koopstep.core.renamed import NAMES, VALUES, renamed, renamed_flat, renamed_path
from koopstep.losses.config import ObjectiveConfig
from koopstep.recipes.recipe import load_recipe
from koopstep.training.settings import TrainingConfig


def test_old_names_become_today_s_at_any_depth() -> None:
    old = {"training": {"critic_betas": [0.5, 0.9]}, "operators": [{"sharing": "place"}], "decoder_told": "final"}
    new = {"training": {"discriminator_betas": [0.5, 0.9]}, "operators": [{"sharing": "position"}]}
    assert renamed(old, "x") == new | {"decoder_condition": "final"}
    assert renamed(new, "x") == new


def test_a_setting_under_both_names_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^file: 'critic' is now called 'discriminator', and both are given"):
        ObjectiveConfig.parse({"critic": "conv", "discriminator": "multiscale"}, "file")


def test_dotted_names_of_checkpoints() -> None:
    found = renamed_flat({"training.critic_betas": "null", "student.operator.sharing": '"place"', "data": '"place"'})
    assert found == {
        "training.discriminator_betas": "null",
        "student.operator.sharing": '"position"',
        "data": '"place"',
    }


def test_old_and_new_names_do_not_meet() -> None:
    """A name of today is not an old one of something else, or a file that was read once would change at the next reading."""
    assert not {*NAMES.values()} & {*NAMES}
    for values in VALUES.values():
        assert not {*values.values()} & {*values}
    fields = {*ObjectiveConfig.model_fields, *TrainingConfig.model_fields}
    assert not fields & {*NAMES} and {*NAMES.values()} - {"decoder_condition"} <= fields


def test_a_file_of_one_s_own_with_old_names_lies_over_a_preset_of_today(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(
        "extends: digits\nobjective: {critic: multiscale, adversary: hinge}\ntraining: {critic_betas: [0.5, 0.9]}\n"
    )
    recipe = load_recipe(str(own), "hkd", ["objective.adversary_data=real", "student.operator.sharing=place"])
    assert (recipe.objective.discriminator, recipe.objective.adversarial_loss) == ("multiscale", "hinge")
    assert recipe.objective.discriminator_data == "real" and recipe.training.discriminator_betas == (0.5, 0.9)
    assert dump(recipe.student)["operator"]["sharing"] == "position"
    assert renamed_path("training.critic_learning_rate") == "training.discriminator_learning_rate"
