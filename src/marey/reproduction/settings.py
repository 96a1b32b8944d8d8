"""Settings of a recipe, changed one by one and told apart from the published ones."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from typing import Any

from marey.config import Recipe, to_dict
from marey.errors import ConfigError

_BOOL = {"true": True, "false": False}


def changed(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """The recipe with settings such as `data.epochs=3` in place of its own.

    The numbers of a pair are joined by a comma: `augment.area=0.2,1`.
    Raises ConfigError for a setting that does not exist, and for a value of another kind.
    """
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"{setting!r} sets nothing; write it as data.epochs=3.")
        recipe = _set(recipe, path.split("."), text, setting)
    return recipe


def _set(node: Any, path: list[str], text: str, setting: str) -> Any:
    name, *rest = path
    known = [field.name for field in dataclasses.fields(node)]
    if name not in known:
        raise ConfigError(
            f"there is no setting {setting.partition('=')[0]!r}; where {name!r} stands there are "
            f"{', '.join(known)}."
        )
    old = getattr(node, name)
    if dataclasses.is_dataclass(old) != bool(rest):
        raise ConfigError(f"{setting!r} does not name one setting; write it as data.epochs=3.")
    if rest:
        return dataclasses.replace(node, **{name: _set(old, rest, text, setting)})
    hint = typing.get_type_hints(type(node))[name]
    try:
        value = _parsed(text, old)
    except (ValueError, KeyError) as error:
        kind = type(old).__name__
        raise ConfigError(f"{setting!r} needs a value like {old!r} ({kind}).") from error
    allowed = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else (value,)
    if value not in allowed:
        raise ConfigError(f"{setting!r} is none of {', '.join(map(str, allowed))}.")
    return dataclasses.replace(node, **{name: value})


def _parsed(text: str, old: Any) -> Any:
    """The text as a value of the kind of another. Raises ValueError or KeyError."""
    if isinstance(old, bool):
        return _BOOL[text.lower()]
    if isinstance(old, tuple):
        parts = text.split(",")
        if len(parts) != len(old):
            raise ValueError(f"{len(old)} values are needed")
        return tuple(_parsed(*pair) for pair in zip(parts, old, strict=True))
    return type(old)(text)


def departures(recipe: Recipe, published: Recipe) -> dict[str, tuple[Any, Any]]:
    """The settings in which two recipes differ, both values; weights and seed do not count."""
    ours, theirs = _flat(to_dict(recipe)), _flat(to_dict(published))
    return {
        name: (ours.get(name), theirs.get(name))
        for name in dict.fromkeys((*ours, *theirs))
        if ours.get(name) != theirs.get(name) and name not in ("encoder.weights", "seed")
    }


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
