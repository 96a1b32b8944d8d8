"""The command line: a thin face over the Python functions of the same names.

Nothing heavy is imported before a command runs, so that help answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import tyro

from marey import __version__
from marey.cli.answers import say
from marey.cli.commands import COMMANDS, Precompute
from marey.errors import MareyError
from marey.recipes import DEFAULT, RECIPES


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command. Exits with 1 and one sentence where the user's input cannot be used."""
    # before torch is loaded: decoding runs beside it, and threads that spin while they wait would
    # take the cores from it. A short while they may, as to sleep at once costs a third of the speed
    # of an idle machine (docs/log.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "4000")
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        say(_overview())
        return
    if given[0] == "--version":
        say(f"marey {__version__}")
        return
    if given[0] not in COMMANDS:
        _stop(f"There is no command {given[0]!r}; there are {', '.join(COMMANDS)}.", 2)
    try:
        _parse(given[0], given[1:]).run()
    except MareyError as error:
        _stop(str(error), 1)
    except KeyboardInterrupt:
        _stop("Stopped; what was finished is kept, and the same command goes on.", 130)


def _parse(name: str, rest: list[str]) -> Any:
    command, place = COMMANDS[name], "out"
    recipe = rest.pop(0) if rest and rest[0] in RECIPES else ""
    if name == "prepare" and recipe:  # videos for a recipe, instead of a data set
        command, place = Precompute, "cache"
    elif name != "train":
        return tyro.cli(command, prog=f"marey {name}", args=[recipe, *rest] if recipe else rest)
    recipe = recipe or DEFAULT
    described = f"{command.__doc__}\n\nmarey {name} [{'|'.join(RECIPES)}] VIDEOS --{place} FOLDER"
    return tyro.cli(
        command,
        prog=f"marey {name} {recipe}",
        description=described,
        args=rest,
        default=command(videos=tyro.MISSING, recipe=RECIPES[recipe](), **{place: tyro.MISSING}),
        config=(tyro.conf.AvoidSubcommands,),
    )


def _overview() -> str:
    lines = ["marey learns from unlabelled video where in an action every frame is.", ""]
    for name, command in COMMANDS.items():
        lines.append(f"  marey {name:<8} {(command.__doc__ or '').splitlines()[0]}")
    return "\n".join([*lines, "", "marey COMMAND --help shows every setting."])


def _stop(text: str, code: int) -> None:
    print(f"marey: {text}", file=sys.stderr)
    sys.exit(code)
