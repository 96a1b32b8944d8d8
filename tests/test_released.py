"""Checkpoints of CARL's release: the whole network, by a twin written from its published code."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from marey.checkpoint import load_method
from marey.cli import main
from marey.embedding import Model
from marey.errors import CheckpointError
from marey.manifest import Manifest
from marey.methods.base import Method
from marey.models.backbone import freeze
from marey.models.resnet import resnet50
from marey.released import load_carl
from reference_outputs import drawn

State = dict[str, Tensor]
FRAMES, WIDTH, HEADS = 12, 16, 4


def state() -> State:
    """Weights under the names of the release: two linear layers, two blocks of a transformer."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norm(name: str, width: int, *buffers: str) -> None:
        shapes.update({f"{name}.{one}": (width,) for one in ("weight", "bias", *buffers)})

    inputs = 2048
    for at in (1, 5):
        linear(f"embed.fc_layers.{at}", inputs, 24)
        norm(f"embed.fc_layers.{at + 1}", 24, "running_mean", "running_var")
        inputs = 24
    linear("embed.video_emb", 24, WIDTH)
    for layer in range(2):
        at = f"embed.video_encoder.enc_layers.{layer}"
        for one in ("Q2d", "K2d", "V2d", "d2Q"):
            linear(f"{at}.self_att.linear_{one}", WIDTH, WIDTH)
        norm(f"{at}.res_layer0.norm", WIDTH)
        norm(f"{at}.res_layer1.norm", WIDTH)
        linear(f"{at}.feed_forward.fc1", WIDTH, 32)
        linear(f"{at}.feed_forward.fc2", 32, WIDTH)
    linear("embed.embedding_layer", WIDTH, 8)
    linear("ssl_projection.net.0", 8, 128)
    made = {name: drawn(name, shape) for name, shape in shapes.items()}
    numbers = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6"}
    for name, value in resnet50().state_dict().items():
        first, rest = name.split(".", 1)
        to = f"backbone.{numbers[first]}" if first in numbers else "res_finetune"
        made[f"{to}.{rest}"] = value if value.ndim == 0 else drawn(name, tuple(value.shape))
    return made


def checkpoint(path: Path, **changes: Any) -> State:
    """A file as CARL's code writes it; `changes` replaces parts, None takes them out."""
    easydict = types.ModuleType("easydict")
    kind: Any = type("EasyDict", (dict,), {"__module__": "easydict"})
    easydict.EasyDict = kind  # type: ignore[attr-defined]
    model = {"EMBEDDER_MODEL": kind(NUM_HEADS=HEADS)}
    settings = kind(TRAIN=kind(NUM_FRAMES=FRAMES), IMAGE_SIZE=32, MODEL=kind(model))
    made = state()
    content = {"epoch": 300, "model_state": made, "optimizer_state": {}, "cfg": settings}
    content = {name: part for name, part in (content | changes).items() if part is not None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "easydict", easydict)
        torch.save(content, path)
    return made


def twin(w: State, features: Tensor) -> Tensor:
    """(n, 2048) pooled features of a video to (n, 8), head by head and position by position."""

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def layer_norm(x: Tensor, name: str) -> Tensor:
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    x = features
    for at in (1, 5):
        x, name = linear(x, f"embed.fc_layers.{at}"), f"embed.fc_layers.{at + 1}"
        x = (x - w[f"{name}.running_mean"]) / (w[f"{name}.running_var"] + 1e-5).sqrt()
        x = (x * w[f"{name}.weight"] + w[f"{name}.bias"]).relu()
    x = linear(x, "embed.video_emb")
    for i, place in enumerate(np.linspace(0, FRAMES - 1, len(x))):
        for k in range(WIDTH):
            x[i, k] += (np.cos if k % 2 else np.sin)(place / 10000 ** (k / WIDTH))
    for layer in range(2):
        at = f"embed.video_encoder.enc_layers.{layer}"
        y = layer_norm(x, f"{at}.res_layer0.norm")
        q, k, v = (linear(y, f"{at}.self_att.linear_{one}2d") for one in "QKV")
        size, seen = WIDTH // HEADS, []
        for head in range(HEADS):
            own = slice(head * size, (head + 1) * size)
            weights = (q[:, own] @ k[:, own].T / size**0.5).softmax(1)
            seen.append(weights @ v[:, own])
        x = x + linear(torch.cat(seen, 1), f"{at}.self_att.linear_d2Q")
        y = linear(layer_norm(x, f"{at}.res_layer1.norm"), f"{at}.feed_forward.fc1").relu()
        x = x + linear(y, f"{at}.feed_forward.fc2")
    return F.normalize(linear(x, "embed.embedding_layer"), dim=1)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    path = tmp_path_factory.mktemp("released") / "checkpoint_epoch_00300.pth"
    return path, checkpoint(path)


@pytest.mark.parametrize("rows", [1, 5, FRAMES, 31])
def test_rows_are_those_of_the_release(released: tuple[Path, State], rows: int) -> None:
    path, weights = released
    method = load_carl(path)
    features = drawn("pictures", (rows, method.width))
    with torch.no_grad():
        got = method.encode(features[None], torch.arange(rows)[None])[0]
        want = twin(weights, features)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def pooled(method: Method, pixels: Tensor) -> Tensor:
    backbone: Any = method.get_submodule("encoder.backbone")
    freeze(backbone, "none")
    with torch.no_grad():
        return method.eval().features(pixels[:, None])


def test_the_backbone_is_that_of_the_release(released: tuple[Path, State]) -> None:
    network = resnet50().eval()
    network.load_state_dict(
        {n: v if v.ndim == 0 else drawn(n, tuple(v.shape)) for n, v in network.state_dict().items()}
    )
    pixels = drawn("pictures", (2, 3, 32, 32))
    with torch.no_grad():
        want = network(pixels)[-1].amax((2, 3))
    torch.testing.assert_close(pooled(load_carl(released[0]), pixels), want, rtol=1e-3, atol=1e-3)


def test_export_makes_a_run_of_it(
    released: tuple[Path, State], world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    main(["export", str(released[0]), "--out", str(out)])
    assert f"{out}: " in capsys.readouterr().out
    about = json.loads((out / "run.json").read_text())
    assert about["source"] == released[0].name
    assert about["recipe"]["method"]["frames"] == FRAMES
    assert "checkpoint_epoch_00300.pth`, which others trained" in (out / "README.md").read_text()
    pixels = drawn("pictures", (2, 3, 32, 32))
    got, want = (pooled(m, pixels) for m in (load_method(out), load_carl(released[0])))
    assert torch.equal(got, want)
    video = Manifest.read(world).entries[0]
    rows = Model(out).embed(video.path)
    assert rows.vectors.shape == (len(rows), 8)


def test_another_file_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    weights = checkpoint(path)
    del weights["embed.video_encoder.enc_layers.1.feed_forward.fc2.bias"]
    checkpoint(path, model_state=weights)
    with pytest.raises(CheckpointError, match=r"1 are missing \(transformer\.blocks\.1\.feedf"):
        load_carl(path)
    checkpoint(path, cfg=None)
    with pytest.raises(CheckpointError, match="does not say how its network is built"):
        load_carl(path)
    checkpoint(path, model_state={n: v for n, v in weights.items() if "embed" not in n})
    with pytest.raises(CheckpointError, match=r"a\.pth is no checkpoint of CARL with a transf"):
        load_carl(path)
    with pytest.raises(CheckpointError, match="no weights file"):
        load_carl(tmp_path / "nothing.pth")
