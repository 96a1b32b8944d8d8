"""The methods, one file each; `build` finds them by the name in their settings."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import cast

import torch

from marey.config import Recipe
from marey.errors import ConfigError
from marey.methods.base import Method


def find(recipe: Recipe) -> type[Method]:
    """The method's class: the `METHOD` of the module that bears the name of its settings.

    Raises ConfigError where there is no such module.
    """
    name = recipe.method.name
    try:
        module = importlib.import_module(f"marey.methods.{name}")
    except ModuleNotFoundError as error:
        raise ConfigError(f"there is no method {name!r} in this version of Marey") from error
    return cast("type[Method]", module.METHOD)


def build(recipe: Recipe, *, pretrained: bool = True) -> Method:
    """The recipe's network with fresh weights, a function of the recipe and its seed alone.

    pretrained: False leaves out the backbone's weights file, for a checkpoint brings its own.
    """
    given = recipe
    if not pretrained:
        given = replace(recipe, encoder=replace(recipe.encoder, weights="random"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        method = find(recipe)(given)
    method.recipe = recipe
    return method
