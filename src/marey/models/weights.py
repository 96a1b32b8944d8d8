"""Weights from files that others published: found by name, checked in full, never unpickled."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from marey.errors import CheckpointError

_HEADS = (
    *("fc", "_fc", "classifier", "head", "projector", "projection_head", "prototypes"),
    *("pre_logits", "mask_token"),  # of vision transformers
    *("embed", "ssl_projection"),  # of CARL's release
)
"""What sits behind a published backbone, has no place here and is left out without complaint."""

_COPY = re.compile(r"(?:^|[._])(?:encoder_k|target|momentum|student|ema|slow)[._]")
"""In a prefix: this network is the slow copy of another one in the same file, or the student of
which DINO's authors publish and evaluate the teacher."""


class _Settings:
    """Stands in for the classes in which released checkpoints keep their settings."""

    def __new__(cls) -> OrderedDict[str, Any]:  # type: ignore[misc]
        return OrderedDict()  # which the safe reader fills, as it would no class of ours


# the classes that the file names are not even imported
_SETTINGS: list[Any] = [(_Settings, "argparse.Namespace"), (_Settings, "easydict.EasyDict")]


def load_state(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a weights file by name, on the CPU.

    Dictionaries within dictionaries become one, their names joined with dots
    ({"state_dict": {"fc.bias": ...}} gives "state_dict.fc.bias"); what is not a tensor is left out.

    Raises CheckpointError for a file that is missing, damaged, unsafe, or without tensors.
    """
    state = dict(tensors(load_plain(path), ""))
    if not state:
        raise CheckpointError(f"{path} holds no tensors; is it a file of weights?")
    return state


def load_plain(path: str | Path) -> Any:
    """All that a weights file holds, tensors on the CPU.

    Reads `.safetensors`, and PyTorch's own files (`.pth`, `.pt`, `.tar`, ...) as long as they hold
    nothing but plain data, and settings as `argparse` and EasyDict keep them, which become
    dictionaries: no code in the file is ever run.

    Raises CheckpointError for a file that is missing, damaged, or unsafe.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no weights file {path}; check the setting `weights`.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # only the newer of PyTorch's two formats can be mapped instead of read
        mapped = zipfile.is_zipfile(path)
        with warnings.catch_warnings():
            # of a pickle that is not PyTorch's own; the error that follows says it better
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            with torch.serialization.safe_globals(_SETTINGS):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a weights file, or holds objects besides tensors, which could run code "
            "when opened; save its state_dict alone, best as .safetensors."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, LookupError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a weights file; fetch or save it again."
        ) from error


def tensors(content: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of nested dictionaries, with the names of all of them joined by dots."""
    if isinstance(content, Tensor):
        yield prefix, content
    elif isinstance(content, Mapping):
        for name, value in content.items():
            yield from tensors(value, f"{prefix}.{name}" if prefix else str(name))


def load_into(
    module: nn.Module,
    state: Mapping[str, Tensor],
    source: str | Path,
    other_names: Sequence[Mapping[str, str]] = (),
) -> None:
    """Copies a network's weights out of a file's tensors, whatever the file calls the network.

    Every weight of the module must be there with its shape. The prefix under which they stand
    (`module.encoder_q.` in MoCo, `online_backbone.module.` in BYOL, `backbone.`, none ...) is the
    one that fits most names; of a network and its slow copy (`encoder_k`, `target` ...) the network
    is taken, of a student and its teacher the teacher. Classifiers and projection heads behind the
    backbone are left out, and so is what stands elsewhere in the file.

    Args:
        source: the file, for messages.
        other_names: further spellings, each from all the module's names to the file's.

    Raises CheckpointError, and changes nothing, where weights are missing or have other shapes,
    where the network in the file has more than the module, or where several networks fit alike.
    """
    own = module.state_dict()
    spellings = [{name: name for name in own}, *other_names]
    prefix, names = _find(state, spellings, source)
    found = {
        name: state[prefix + theirs] for name, theirs in names.items() if prefix + theirs in state
    }
    # counters of steps, which older files do not have
    missing = [n for n in own if n not in found and not n.endswith("num_batches_tracked")]
    known = {prefix + theirs for theirs in names.values()}
    unexpected = [
        name
        for name in state
        if name.startswith(prefix)
        and name not in known
        and name.removeprefix(prefix).split(".")[0] not in _HEADS
        and not _COPY.search(name.removeprefix(prefix))
    ]
    reshaped = [
        f"{name} {tuple(value.shape)} for {tuple(own[name].shape)}"
        for name, value in found.items()
        if value.shape != own[name].shape
    ]
    complaints = [
        f"{len(some)} {what} ({_listed(some)})"
        for some, what in (
            (missing, "are missing"),
            (unexpected, "are not expected"),
            (reshaped, "have another shape"),
        )
        if some
    ]
    if complaints:
        raise CheckpointError(
            f"{source} does not fit {type(module).__name__}: of its {len(own)} weights "
            f"{', '.join(complaints)}; choose another backbone or file."
        )
    module.load_state_dict(found, strict=False)


def _listed(names: Sequence[str]) -> str:
    """All names where they can be read, else the first."""
    return ", ".join(names if len(names) <= 10 else [*names[:3], "..."])


def _find(
    state: Mapping[str, Tensor], spellings: Sequence[Mapping[str, str]], source: str | Path
) -> tuple[str, Mapping[str, str]]:
    """The prefix and spelling that fit most names."""
    fits: dict[tuple[int, bool], list[tuple[str, Mapping[str, str]]]] = {}
    for names in spellings:
        first = next(iter(names.values()))
        for name in state:
            prefix = name.removesuffix(first)
            if prefix != name and (not prefix or prefix.endswith(".")):
                count = sum(prefix + theirs in state for theirs in names.values())
                fits.setdefault((count, not _COPY.search(prefix)), []).append((prefix, names))
    if not fits:
        return "", spellings[0]
    (count, _), best = max(fits.items(), key=lambda item: item[0])
    if len(best) > 1 and count > len(spellings[0]) / 2:
        raise CheckpointError(
            f"{source} holds several networks that fit ({', '.join(p for p, _ in best)}); "
            "save the one you mean to a file of its own."
        )
    return best[0]


def digest(weights: Mapping[str, Tensor], about: str = "") -> str:
    """SHA-256 of weights and their names, and of what else is said, in hexadecimal."""
    hashed = hashlib.sha256(about.encode())
    for name, tensor in weights.items():
        hashed.update(name.encode())
        hashed.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()
