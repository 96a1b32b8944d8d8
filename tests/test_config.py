"""Settings survive JSON; unknown ones are refused; importing them needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from marey.config import DataConfig, Recipe, from_dict, to_dict
from marey.errors import ConfigError
from marey.recipes import DEFAULT, RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json(name: str) -> None:
    recipe = RECIPES[name]()
    assert from_dict(Recipe, json.loads(json.dumps(to_dict(recipe)))) == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_what_it_is(name: str) -> None:
    assert RECIPES[name].__doc__


def test_the_default_recipe_exists() -> None:
    assert DEFAULT in RECIPES


def test_a_setting_of_another_version_is_named() -> None:
    data = to_dict(RECIPES[DEFAULT]())
    data["encoder"]["sharpness"] = 3
    with pytest.raises(ConfigError, match=r"sharpness.*another version"):
        from_dict(Recipe, data)


def test_a_method_of_another_version_is_named() -> None:
    data = to_dict(RECIPES[DEFAULT]())
    data["method"]["name"] = "telepathy"
    with pytest.raises(ConfigError, match="no method 'telepathy'"):
        from_dict(Recipe, data)


def test_steps_are_made_of_whole_runs() -> None:
    assert DataConfig(videos=6, together=3).together == 3
    for together in (0, 4, 7):
        with pytest.raises(ConfigError, match="divide data.videos"):
            DataConfig(videos=6, together=together)


def test_settings_and_help_do_not_import_torch() -> None:
    code = "import sys, marey.cli, marey.types; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
