"""Runs to share: all that embedding needs, nothing that names a video, and the same numbers."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from marey import checkpoint, hub
from marey.cli import main
from marey.config import ClassifierConfig, MclConfig, Recipe
from marey.embedding import Model, embed_to
from marey.errors import CheckpointError, ConfigError
from marey.evaluation.protocol import evaluate
from marey.exporting import export_run
from marey.manifest import Manifest
from marey.methods import build
from marey.methods.base import ClipMethod, Method
from marey.models.backbone import Backbone, freeze
from marey.models.backbone import build as backbone
from marey.programs import pixel_shape, programs
from marey.recipes import carl_tiny, mcl_tiny


def written(folder: Path, recipe: Recipe) -> Path:
    """A run folder with the weights that a training would start from."""
    checkpoint.write_run(folder, recipe, {"videos": 1234, "frames": 56789, "device": "my-machine"})
    method = build(recipe)
    checkpoint.save(folder, method, torch.optim.SGD(method.parameters(), 0.1), {"step": 7})
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("runs") / "run", carl_tiny())


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_run(run, tmp_path_factory.mktemp("exports") / "golf").folder


def test_an_export_embeds_what_the_run_embeds(
    run: Path, exported: Path, world: Path, tmp_path: Path
) -> None:
    video = Manifest.read(world).entries[0].path
    a, b = (Model(folder).embed(video) for folder in (run, exported))
    assert np.array_equal(a.vectors, b.vectors)
    assert embed_to(tmp_path / "e.parquet", exported, [video]).rows == len(a)


def test_an_export_holds_what_is_needed_and_no_more(exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == set(hub.RUN_FILES)
    names = set(checkpoint.load_tensors(exported / "model.safetensors"))
    assert names
    assert {name.split(".")[0] for name in names} == {"encoder"}


@pytest.mark.parametrize("kind", ["mcl", "classifier"])
def test_copies_queues_and_heads_stay_behind(tmp_path: Path, kind: str) -> None:
    recipe = mcl_tiny()
    if kind == "classifier":
        assert isinstance(recipe.method, MclConfig)
        recipe = replace(
            recipe, method=ClassifierConfig(base=recipe.method, actions=("jump", "run"))
        )
    run = written(tmp_path / "run", recipe)
    done = export_run(run, tmp_path / "out")
    names = set(checkpoint.load_tensors(tmp_path / "out" / "model.safetensors"))
    tops = {".".join(name.split(".")[:2]) for name in names}
    more = {"layer.weight", "layer.bias"} if kind == "classifier" else set()
    assert tops == {"encoder.backbone"} | more
    whole = (run / "checkpoint" / "model.safetensors").stat().st_size
    assert done.megabytes * 1e6 < whole / (1 if kind == "classifier" else 2) + 20_000
    a, b = checkpoint.load_method(run), checkpoint.load_method(tmp_path / "out")
    pixels = torch.randn(2, *pixel_shape(a))
    with torch.no_grad():
        assert torch.equal(a.features(pixels), b.features(pixels))


def test_the_card_counts_and_names_nothing(tmp_path: Path) -> None:
    recipe = carl_tiny()
    recipe = replace(recipe, encoder=replace(recipe.encoder, weights="/home/ada/secret/lite0.pth"))
    run = tmp_path / "run"
    checkpoint.write_run(run, recipe, {"videos": 1234, "frames": 56789, "device": "my-machine"})
    method = build(recipe, pretrained=False)
    checkpoint.save(run, method, torch.optim.SGD(method.parameters(), 0.1), {"step": 7})
    scores = tmp_path / "scores.md"
    scores.write_text("| embedding | tau |\n| --- | ---: |\n| carl | 0.123 |\n")
    folder = export_run(run, tmp_path / "out", scores=scores).folder
    card, about = (folder / "README.md").read_text(), (folder / "run.json").read_text()
    for part in ("1,234 videos, 56,789 frames, 7 steps", "| carl | 0.123 |", "`lite0.pth`", "carl"):
        assert part in card
    for secret in ("/home", "secret", "my-machine", str(tmp_path)):
        assert secret not in card + about
    assert json.loads(about)["recipe"]["encoder"]["weights"] == "lite0.pth"
    assert card.startswith("---\nlibrary_name: marey\n")
    assert "License" in card


def test_an_export_can_be_exported_and_replaced(exported: Path, tmp_path: Path) -> None:
    for _ in range(2):
        export_run(exported, tmp_path / "again")
    for name in ("run.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (exported / name).read_bytes()
    with pytest.raises(ConfigError, match="onto itself"):
        export_run(exported, exported)


def test_exports_replace_nothing_else(run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists and is not an export"):
        export_run(run, tmp_path)
    with pytest.raises(ConfigError, match="onto itself"):
        export_run(run, run)
    assert (run / "checkpoint").is_dir()
    with pytest.raises(ConfigError, match="no table of scores"):
        export_run(run, tmp_path / "out", scores=tmp_path / "thesis.txt")
    with pytest.raises(CheckpointError, match="no run folder"):
        export_run(tmp_path / "nothing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_is_scored_without_the_weights_it_started_from(
    world: Path, tmp_path: Path
) -> None:
    recipe, file = carl_tiny(), tmp_path / "lite0.pth"
    torch.save(backbone(recipe.encoder.backbone).state_dict(), file)
    run = written(
        tmp_path / "run", replace(recipe, encoder=replace(recipe.encoder, weights=str(file)))
    )
    exported = export_run(run, tmp_path / "out").folder
    labels = Manifest.read(world)
    few = Manifest(tuple(labels.select(action=labels.actions()[0]).entries))
    want = evaluate(run, few).rows
    file.unlink()
    assert evaluate(exported, few).rows == want


def test_an_export_is_not_trained_on(exported: Path) -> None:
    method = checkpoint.load_method(exported)
    with pytest.raises(CheckpointError, match="is an export"):
        checkpoint.resume(exported, method, torch.optim.SGD(method.parameters(), 0.1))


def test_an_incomplete_export_is_told(exported: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    copy = Path(shutil.copytree(exported, tmp_path / "copy"))
    state = checkpoint.load_tensors(copy / "model.safetensors")
    state.pop("encoder.head.embed.bias")
    save_file(state, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"1 tensors missing.*encoder\.head\.embed\.bias"):
        checkpoint.load_method(copy)


def plain(method: Method, pixels: Tensor) -> Tensor:
    """Features without the fast copy of what is not trained, which may be bfloat16."""
    if isinstance(method, ClipMethod):
        with torch.no_grad():
            return method.eval().encoder(pixels)[0]
    for module in method.modules():
        if isinstance(module, Backbone):
            freeze(module, "none")
    with torch.no_grad():
        return method.eval().features(pixels)


def small(kind: str) -> Method:
    """A method of little to compile, its BatchNorms no longer as they start."""
    if kind == "mcl":
        method = build(mcl_tiny())
    else:
        recipe, backbone = carl_tiny(), "dinov2_s14" if kind == "vit" else "resnet18"
        encoder = replace(
            recipe.encoder,
            backbone=backbone,
            weights="random",
            size=56 if kind == "vit" else 32,
            position="rotary" if kind == "vit" else "absolute",
            motion=8 if kind == "resnet" else 0,
        )
        method = build(replace(recipe, encoder=encoder))
    torch.manual_seed(0)
    for module in method.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            module.running_mean.uniform_(-0.1, 0.1)
    return method.eval()


def rows(method: Method, count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(1, count, method.width), 3 * torch.arange(count)[None]


@pytest.mark.parametrize("kind", ["mcl", "vit", "resnet"])
def test_programs_are_the_method(kind: str, tmp_path: Path) -> None:
    method = small(kind)
    made = programs(method)
    for count in (1, 5):
        pixels = torch.randn(count, *pixel_shape(method))
        got = made["features"].module()(pixels)
        torch.testing.assert_close(got, plain(method, pixels), rtol=1e-4, atol=1e-4)
    for count in (1, 2, 50, 300):
        features, times = rows(method, count)
        with torch.no_grad():
            want = method.encode(features, times)
        got = made["encode"].module()(features, times)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_programs_can_be_written_and_read(tmp_path: Path) -> None:
    run = written(tmp_path / "run", mcl_tiny())
    folder = export_run(run, tmp_path / "out", format="torch").folder
    assert {path.name for path in folder.iterdir()} == {
        *("run.json", "README.md", "features.pt2", "encode.pt2")
    }
    method = checkpoint.load_method(run)
    pixels = torch.randn(3, *pixel_shape(method))
    features = torch.export.load(folder / "features.pt2").module()(pixels)
    torch.testing.assert_close(features, plain(method, pixels), rtol=1e-4, atol=1e-4)
    times = torch.zeros(1, 3, dtype=torch.int64)
    embedding = torch.export.load(folder / "encode.pt2").module()(features[None], times)
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(1, 3))
    card = (folder / "README.md").read_text()
    assert "`pixels` (N, 8, 3, 48, 48) float32" in card


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="the extra `onnx` is not installed",
)
@pytest.mark.parametrize("kind", ["mcl", "vit", "resnet"])
def test_onnx_is_the_method(kind: str, tmp_path: Path) -> None:
    import onnxruntime

    from marey.programs import write_onnx

    method = small(kind)
    write_onnx(method, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"features.onnx", "encode.onnx"}
    network = onnxruntime.InferenceSession(tmp_path / "features.onnx")
    for count in (1, 5):
        pixels = torch.randn(count, *pixel_shape(method))
        (got,) = network.run(None, {"pixels": pixels.numpy()})
        np.testing.assert_allclose(got, plain(method, pixels), rtol=1e-3, atol=1e-4)
    encode = onnxruntime.InferenceSession(tmp_path / "encode.onnx")
    for count in (1, 2, 50, 300):
        features, times = rows(method, count)
        (got,) = encode.run(None, {"features": features.numpy(), "times": times.numpy()})
        with torch.no_grad():
            want = method.encode(features, times)
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)


def test_onnx_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = written(tmp_path / "run", mcl_tiny())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install marey\[onnx\]"):
        export_run(run, tmp_path / "out", format="onnx")
    assert not (tmp_path / "out").exists()


class Hub(types.ModuleType):
    """`huggingface_hub` with a folder for a hub: owner/name/file."""

    def __init__(self, folder: Path) -> None:
        super().__init__("huggingface_hub")
        self.folder, self.private = folder, dict[str, bool]()
        self.errors = types.ModuleType("huggingface_hub.errors")
        self.errors.EntryNotFoundError = type("EntryNotFoundError", (Exception,), {})  # type: ignore[attr-defined]

    def hf_hub_download(self, repo_id: str, filename: str, revision: str | None = None) -> str:
        path = self._repo(repo_id) / (revision or "main") / filename
        if not path.is_file():
            raise self.errors.EntryNotFoundError("404 Client Error.\n\nMore words.")
        return str(path)

    def snapshot_download(
        self, repo_id: str, revision: str | None = None, allow_patterns: list[str] | None = None
    ) -> str:
        assert allow_patterns == list(hub.RUN_FILES)
        return str(self._repo(repo_id) / (revision or "main"))

    def create_repo(self, repo_id: str, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.private.setdefault(repo_id, private)
        (self.folder / repo_id).mkdir(parents=True, exist_ok=True)

    def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> None:
        shutil.copytree(folder_path, self._repo(repo_id) / "main", dirs_exist_ok=True)

    def _repo(self, repo_id: str) -> Path:
        if not (self.folder / repo_id).is_dir():
            raise OSError(f"Repository Not Found for {repo_id}")
        return self.folder / repo_id


@pytest.fixture
def local_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    module = Hub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", module.errors)
    return module


def test_to_the_hub_and_back(
    run: Path, local_hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["export", str(run), "--out", str(tmp_path / "a"), "--hub", "ada/golf"])
    assert "hf://ada/golf" in capsys.readouterr().out
    assert local_hub.private == {"ada/golf": True}
    main(["export", "hf://ada/golf", "--out", str(tmp_path / "b")])
    for name in ("run.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with pytest.raises(CheckpointError, match="Repository Not Found for ada/tennis"):
        export_run("hf://ada/tennis", tmp_path / "c")
    with pytest.raises(ConfigError, match="write hf://owner/repo"):
        export_run("hf://golf", tmp_path / "c")
    with pytest.raises(ConfigError, match="write owner/name"):
        hub.push(tmp_path / "a", "golf")


def test_files_of_the_hub(local_hub: Hub) -> None:
    for at in ("main/a.pth", "main/deep/b.safetensors", "v2/a.pth"):
        path = local_hub.folder / "facebook" / "dino" / at
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(at)
    for address, at in (
        ("hf://facebook/dino/a.pth", "main/a.pth"),
        ("hf://facebook/dino/deep/b.safetensors", "main/deep/b.safetensors"),
        ("hf://facebook/dino@v2/a.pth", "v2/a.pth"),
    ):
        assert hub.fetch_file(address).read_text() == at
    with pytest.raises(CheckpointError, match=r"hf://facebook/dino/c.pth \(404 Client Error.\)"):
        hub.fetch_file("hf://facebook/dino/c.pth")


@pytest.mark.parametrize("address", ["hf://", "hf://facebook", "hf://facebook/dino"])
def test_addresses_that_name_no_file(address: str) -> None:
    with pytest.raises(ConfigError, match="write hf://owner/repo/file"):
        hub.fetch_file(address)


def test_the_hub_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"pip install marey\[hub\]"):
        hub.fetch_file("hf://facebook/dino/a.pth")
