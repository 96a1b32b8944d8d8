"""Networks that the authors of CARL trained and released, as methods of Marey."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marey.config import CarlConfig, EncoderConfig, Recipe
from marey.errors import CheckpointError
from marey.methods import build
from marey.methods.base import Method
from marey.models.weights import load_into, load_plain, tensors
from marey.published_recipes import carl_penn

_MARK = "embed.video_emb.weight"
"""Found in checkpoints of CARL with a transformer, and in nothing else."""

_BLOCK = {
    "res_layer0.norm": "norm1",
    "res_layer1.norm": "norm2",
    "self_att.linear_d2Q": "attention.out",
    "feed_forward.fc1": "feedforward.0",
    "feed_forward.fc2": "feedforward.3",
}
"""Of a layer of the transformer: the release's names, and Marey's."""


def load_carl(path: str | Path) -> Method:
    """The network of a checkpoint that CARL's code wrote, such as those its authors released.

    That is `model_state`, by a map of names, beside the settings `cfg`, of which the frames of a
    view, the side of a picture and the heads of the attention are read; nothing is unpickled. It
    embeds as the release does: its transformer has other positions than Marey's `absolute` (the
    cosines turn at rates of their own) and no LayerNorm at its end, `--encoder.position released`.
    The projection of the loss is left out.

    Raises CheckpointError for a file that is missing, unsafe, or no such checkpoint, and one that
    lacks weights, with their names.
    """
    path = Path(path)
    content = load_plain(path)
    state = dict(tensors(content, ""))
    prefix = next((n.removesuffix(_MARK) for n in state if n.endswith(_MARK)), None)
    if prefix is None:
        raise CheckpointError(
            f"{path} is no checkpoint of CARL with a transformer (it holds no {_MARK}); to start a "
            "training from its backbone give it as --encoder.weights."
        )
    state = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
    method = build(_recipe(state, content, path))
    encoder: Any = method.get_submodule("encoder")
    load_into(encoder.backbone, state, path, encoder.backbone.other_names())
    load_into(encoder.head, dict(_head(state)), path)
    return method.eval()


def _recipe(state: Mapping[str, Tensor], content: Any, path: Path) -> Recipe:
    """`carl_penn` with the sizes of the network in the file."""
    try:
        settings = content["cfg"]
        frames, size = int(settings["TRAIN"]["NUM_FRAMES"]), int(settings["IMAGE_SIZE"])
        heads = int(settings["MODEL"]["EMBEDDER_MODEL"]["NUM_HEADS"])
        linear = [n for n in state if re.fullmatch(r"embed\.fc_layers\.\d+\.running_mean", n)]
        blocks = {n.split(".")[3] for n in state if n.startswith("embed.video_encoder.enc_layers.")}
        encoder = EncoderConfig(
            backbone="resnet50",
            weights="random",  # all of them come from the file
            size=size,
            hidden=len(state[linear[0]]),
            hidden_layers=len(linear),
            width=len(state[_MARK]),
            layers=len(blocks),
            heads=heads,
            feedforward=len(state["embed.video_encoder.enc_layers.0.feed_forward.fc1.bias"]),
            position="released",
            dimension=len(state["embed.embedding_layer.bias"]),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not say how its network is built ({type(error).__name__}: {error}); give "
            "a whole checkpoint of CARL's code, with model_state and cfg."
        ) from error
    recipe = carl_penn()
    # features are extracted once: nothing is trained any more
    data = replace(recipe.data, copies=1)
    return replace(recipe, method=CarlConfig(frames=frames), encoder=encoder, data=data)


def _head(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The weights of a `FrameHead` by Marey's names."""
    layers = [n for n in state if n.startswith("embed.fc_layers.")]
    last = 1 + max((int(n.split(".")[2]) for n in layers), default=-2)
    for name, value in state.items():
        part, _, rest = name.removeprefix("embed.").partition(".")
        if name in layers:
            yield f"project.{rest}", value
        elif part == "video_emb":
            yield f"project.{last + 1}.{rest}", value
        elif part == "embedding_layer":
            yield f"embed.{rest}", value
        elif part == "video_encoder":
            number, inner = rest.removeprefix("enc_layers.").split(".", 1)
            at, _, kind = inner.rpartition(".")
            to = f"transformer.blocks.{number}"
            if at in _BLOCK:
                yield f"{to}.{_BLOCK[at]}.{kind}", value
            elif at == "self_att.linear_Q2d":
                three = [name.replace("Q2d", f"{one}2d") for one in "QKV"]
                if all(one in state for one in three):
                    yield f"{to}.attention.qkv.{kind}", torch.cat([state[one] for one in three])
