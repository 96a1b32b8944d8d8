"""The run folder: JSON and safetensors, never a pickle.

run.json                      what was trained, on what, by which version
log.jsonl                     one line per logged step
checkpoint/model.safetensors  the whole method, backbone included
checkpoint/optimizer.safetensors, state.json    what a resumed training needs
cache/                        features of frozen backbones, may be deleted

A run that `marey.exporting` wrote has its `model.safetensors` beside run.json, which says that it
is `exported`: it embeds like any other, but holds only what that needs, and cannot be resumed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from marey import __version__
from marey.config import Recipe, from_dict, to_dict
from marey.errors import CheckpointError
from marey.files import recover_folder, replacing_folder, write_json
from marey.methods import build
from marey.methods.base import Method

FORMAT = 1
"""Version of the run folder; raised when an older Marey could not read a newer run."""

OptimizerState = dict[str, Any]


def write_run(folder: Path, recipe: Recipe, facts: dict[str, Any]) -> None:
    """Starts a run folder. Raises StorageError."""
    write_json(
        folder / "run.json",
        {"format": FORMAT, "marey": __version__, "recipe": to_dict(recipe), **facts},
    )


def read_run(folder: Path) -> dict[str, Any]:
    """The contents of run.json. Raises CheckpointError, in one sentence, for any other folder."""
    path = folder / "run.json"
    if not folder.is_dir():
        raise CheckpointError(f"There is no run folder {folder}; `marey train` makes one.")
    if not path.is_file():
        raise CheckpointError(f"{folder} is not a run folder: it holds no run.json.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data["format"]
        data["recipe"]["method"]["name"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged or not Marey's; train the run again.") from error
    if version != FORMAT:
        raise CheckpointError(
            f"{folder} was written by Marey {data.get('marey', '?')} in run format {version}, and "
            f"this Marey ({__version__}) reads format {FORMAT}; install the version it names."
        )
    return dict(data)


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a run. Raises CheckpointError or ConfigError."""
    return from_dict(Recipe, read_run(folder)["recipe"])


def weights_file(folder: Path) -> Path:
    """The file with the weights of a run folder, or of an exported one; it need not be there."""
    exported = folder / "model.safetensors"
    if exported.is_file():
        return exported
    recover_folder(folder / "checkpoint")
    return folder / "checkpoint" / "model.safetensors"


def needed(method: Method) -> dict[str, Tensor]:
    """The weights that embed, by name: what an exported run holds."""
    state = method.state_dict()
    return _contiguous({k: v for k, v in state.items() if k.startswith(method.exported)})


def load_method(folder: Path, device: torch.device | None = None) -> Method:
    """The trained method of a run folder, in eval mode.

    Raises CheckpointError where there is no finished checkpoint or it does not fit the recipe.
    """
    run = read_run(folder)
    recipe = from_dict(Recipe, run["recipe"])
    path = weights_file(folder)
    state = load_tensors(path)
    method = build(recipe, pretrained=False)
    missing, unexpected = method.load_state_dict(state, strict=False)
    if run.get("exported"):
        missing = [name for name in missing if name.startswith(method.exported)]
    wrong = [*missing, *unexpected]
    if wrong:
        raise CheckpointError(
            f"{path} does not fit its recipe ({len(wrong)} tensors missing or foreign, such as "
            f"{wrong[0]}); train or export the run again."
        )
    return method.to(device or torch.device("cpu")).eval()


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file. Raises CheckpointError where it is absent or damaged."""
    if not path.is_file():
        raise CheckpointError(f"{path} is not there: the run has not reached its first checkpoint.")
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a complete safetensors file ({error}); copy the run again or resume it."
        ) from error


def save(
    folder: Path, method: Method, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Writes a checkpoint, whole or not at all. Raises StorageError."""
    with replacing_folder(folder / "checkpoint") as draft:
        save_file(_contiguous(method.state_dict()), draft / "model.safetensors")
        tensors, groups = _flatten(optimizer)
        save_file(tensors, draft / "optimizer.safetensors")
        (draft / "state.json").write_text(
            json.dumps({**state, "optimizer": groups}, indent=2), encoding="utf-8"
        )


def resume(folder: Path, method: Method, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Puts the last checkpoint back into place; returns its state, or None where there is none.

    Raises CheckpointError where it is damaged or belongs to other settings, and for an export.
    """
    if read_run(folder).get("exported"):
        raise CheckpointError(
            f"{folder} is an export, without what a training needs to go on; give another --out."
        )
    recover_folder(folder / "checkpoint")
    path = folder / "checkpoint"
    if not (path / "state.json").is_file():
        return None
    try:
        method.load_state_dict(load_tensors(path / "model.safetensors"))
        state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
        _unflatten(optimizer, load_tensors(path / "optimizer.safetensors"), state.pop("optimizer"))
    except (RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not fit the settings of this training; give another --out, "
            "or the settings it was started with."
        ) from error
    return state


def _contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in state.items()}


def _flatten(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    state = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": torch.as_tensor(value).contiguous()
        for index, values in state["state"].items()
        for name, value in values.items()
        if value is not None
    }
    return tensors, state["param_groups"]


def _unflatten(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], groups: list[dict[str, Any]]
) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": groups})
