"""Weights files: found by name whatever the prefix, checked in full, and never executed."""

from __future__ import annotations

import argparse
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from marey.config import ClipEncoderConfig
from marey.errors import CheckpointError, ConfigError
from marey.models.backbone import build
from marey.models.clip_encoder import ClipEncoder
from marey.models.r2plus1d import r2plus1d_small
from marey.models.resnet import resnet18
from marey.models.weights import load_into, load_state


class Tiny(nn.Module):
    """Named like the beginning of a ResNet."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(nn.Conv2d(width, width, 1))


def under(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {prefix + name: value.clone() for name, value in module.state_dict().items()}


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(v, b.state_dict()[name]) for name, v in a.state_dict().items())


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(["module", "encoder_q", "online_backbone", "model", "net_2"])),
    st.sampled_from(["", "module.encoder_k.", "target_network.module.", "state_dict_ema."]),
)
def test_finds_the_network_under_any_prefix(parts: list[str], copy: str) -> None:
    prefix = "".join(part + "." for part in parts)
    source, target = Tiny(), Tiny()
    state = under(copy, Tiny()) | {"queue": torch.zeros(3)} if prefix and copy else {}
    state |= under(prefix, source) | {prefix + "fc.0.weight": torch.zeros(2, 2)}
    load_into(target, state, "file")
    assert equal(source, target)


@pytest.mark.parametrize(
    ("outer", "name"),
    [
        ({"state_dict": "module.encoder_q."}, "moco_v2.pth.tar"),
        ({"online_backbone": "module.", "target_backbone": "module."}, "byol.pth.tar"),
        ({"model": ""}, "trained.pt"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_reads_what_pytorch_saves(
    tmp_path: Path, outer: dict[str, str], name: str, zipped: bool
) -> None:
    source, target = Tiny(), Tiny()
    nests = {}
    for i, (nest, prefix) in enumerate(outer.items()):
        nests[nest] = OrderedDict(under(prefix, source if i == 0 else Tiny()))
    path = tmp_path / name
    torch.save(
        {"epoch": 800, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}, **nests},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    load_into(target, load_state(path), path)
    assert equal(source, target)


def test_reads_safetensors(tmp_path: Path) -> None:
    source, target = Tiny(), Tiny()
    save_file(source.state_dict(), tmp_path / "a.safetensors")
    load_into(target, load_state(tmp_path / "a.safetensors"), "a")
    assert equal(source, target)


def test_reads_resnets_numbered_by_a_sequential(tmp_path: Path) -> None:
    source = resnet18()
    kinds = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    state = {
        f"backbone.{kinds.index(name.split('.')[0])}.{name.split('.', 1)[1]}": value
        for name, value in source.state_dict().items()
    }
    torch.save({"state_dict": state}, tmp_path / "byol.ckpt")
    assert equal(source, build("resnet18", tmp_path / "byol.ckpt"))


@pytest.mark.parametrize(
    ("name", "prefix", "besides"),
    [
        ("resnet18", "", ["fc.weight", "fc.bias"]),  # torchvision, timm
        ("resnet50", "state_dict.module.encoder_q.", ["fc.0.weight", "fc.2.bias"]),  # MoCo v2
        ("resnet18", "model.backbone.", ["projector.0.weight"]),  # SimCLR
        ("vit_s16", "", []),  # DINO
        ("vit_s16", "", ["head.weight", "head.bias"]),  # timm
        ("dinov2_s14", "", ["mask_token"]),  # DINOv2
    ],
)
def test_published_layouts(name: str, prefix: str, besides: list[str]) -> None:
    source, target = build(name, "random"), build(name, "random")
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(1)
    state = under(prefix, source) | {prefix + more: torch.zeros(1, 384) for more in besides}
    load_into(target, state, "file", target.other_names())
    assert equal(source, target)


def test_of_student_and_teacher_the_teacher_is_taken() -> None:
    source, target = Tiny(), Tiny()
    state = under("student.module.backbone.", Tiny()) | under("teacher.backbone.", source)
    load_into(target, state | {"teacher.head.mlp.0.weight": torch.zeros(2)}, "dino_full.pth")
    assert equal(source, target)


@pytest.mark.parametrize("trained", [0, 1, 2])
def test_reads_the_resnet_of_carls_release(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trained: int
) -> None:
    """Its `backbone` numbers what `res_finetune` does not hold; settings lie beside in a class."""
    source, state = resnet18(), {}
    layers = ["layer1", "layer2", "layer3", "layer4"]
    numbers = {"conv1": "0", "bn1": "1"} | {layer: str(4 + i) for i, layer in enumerate(layers)}
    tail = {1: {"layer4": ""}, 2: {"layer3": "0.", "layer4": "1."}}.get(trained, {})
    for name, value in source.state_dict().items():
        first, rest = name.split(".", 1)
        to = f"res_finetune.{tail[first]}" if first in tail else f"backbone.{numbers[first]}."
        state[to + rest] = value
    state["embed.video_emb.weight"] = state["ssl_projection.net.0.weight"] = torch.zeros(2, 2)
    easydict = types.ModuleType("easydict")
    easydict.EasyDict = type("EasyDict", (dict,), {"__module__": "easydict"})  # type: ignore[attr-defined]
    settings = easydict.EasyDict(LOGDIR="logs", TRAIN=easydict.EasyDict(NUM_FRAMES=80))
    settings.SSL = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "easydict", easydict)
        torch.save(
            {"epoch": 300, "model_state": state, "optimizer_state": {}, "cfg": settings},
            tmp_path / "carl.pth",
        )
    assert equal(source, build("resnet18", tmp_path / "carl.pth"))
    assert "its backbone alone was taken" in caplog.text


def test_reads_the_network_of_mcls_release(tmp_path: Path) -> None:
    source = r2plus1d_small()
    head = {"module.nce_inter_head.mlp.0.weight": torch.zeros(2, 2)}
    torch.save(
        {
            "opt": argparse.Namespace(alpha=0.999, dataset="ucf101"),
            "model": under("module.backbone.", source) | head,
            "model_ema": under("module.backbone.", r2plus1d_small()) | head,
            "contrast": {"memory": torch.zeros(4, 2)},
            "epoch": 200,
        },
        tmp_path / "current.pth",
    )
    config = ClipEncoderConfig(backbone="r2plus1d_small", weights=str(tmp_path / "current.pth"))
    assert equal(source, ClipEncoder(config, heads=()).backbone)


def test_old_files_need_not_count_their_steps() -> None:
    source, target = Tiny(), Tiny()
    state = under("", source)
    del state["bn1.num_batches_tracked"]
    load_into(target, state, "file")
    assert torch.equal(target.conv1.weight, source.conv1.weight)


def test_says_what_does_not_fit_and_changes_nothing() -> None:
    source, target = Tiny(), Tiny()
    before = under("", target)
    state = under("model.", source) | {"model.extra.bias": torch.zeros(1)}
    del state["model.layer1.0.bias"]
    state["model.conv1.weight"] = torch.zeros(8, 3, 3, 3)
    with pytest.raises(CheckpointError) as error:
        load_into(target, state, "some.pth")
    for part in (
        "some.pth does not fit Tiny",
        "1 are missing (layer1.0.bias)",
        "1 are not expected (model.extra.bias)",
        "conv1.weight (8, 3, 3, 3) for (4, 3, 3, 3)",
    ):
        assert part in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())
    some = {"conv1.weight": source.conv1.weight, "bn1.weight": source.bn1.weight}
    with pytest.raises(CheckpointError) as error:
        load_into(target, some, "some.pth")
    lacks = "bn1.bias, bn1.running_mean, bn1.running_var, layer1.0.weight, layer1.0.bias"
    assert f"5 are missing ({lacks})" in str(error.value)


def test_another_network_does_not_fit(tmp_path: Path) -> None:
    torch.save({"blocks.attention": torch.zeros(3)}, tmp_path / "vit.pth")
    with pytest.raises(CheckpointError, match="of its 120 weights 100 are missing"):
        build("resnet18", tmp_path / "vit.pth")


def test_refuses_to_choose_between_two_networks() -> None:
    state = under("left.", Tiny()) | under("right.", Tiny())
    with pytest.raises(CheckpointError, match=r"several networks that fit \(left., right.\)"):
        load_into(Tiny(), state, "file")


class Payload:
    """Touches a file when unpickled by a careless reader."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.victim,)


@pytest.mark.parametrize("name", ["evil.pth", "evil.tar", "raw.pkl"])
def test_runs_no_code_from_a_file(tmp_path: Path, name: str) -> None:
    path, victim = tmp_path / name, tmp_path / "touched"
    content = {"state_dict": {"conv1.weight": torch.zeros(1)}, "x": Payload(victim)}
    if name == "raw.pkl":
        path.write_bytes(pickle.dumps({"x": Payload(victim)}, protocol=2))
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match="could run code"):
        load_state(path)
    assert not victim.exists()
    if name != "raw.pkl":  # the payload is live
        torch.load(path, weights_only=False)
        assert victim.exists()


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".tar", ".safetensors"])
@pytest.mark.parametrize("damage", ["empty", "noise", "cut"])
def test_damaged_files(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(Tiny().state_dict(), path)
    else:
        torch.save(Tiny().state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "noise": bytes(range(256)) * 20, "cut": whole[:-400]}[damage])
    with pytest.raises(CheckpointError, match=f"weights{suffix}"):
        load_state(path)


def test_files_without_tensors_and_missing_files(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "nothing.pth")
    with pytest.raises(CheckpointError, match="no tensors"):
        load_state(tmp_path / "nothing.pth")
    with pytest.raises(CheckpointError, match="no weights file"):
        load_state(tmp_path / "absent.pth")


def test_no_package_has_resnet_weights() -> None:
    with pytest.raises(ConfigError, match="No package brings weights of resnet50"):
        build("resnet50", "package")
