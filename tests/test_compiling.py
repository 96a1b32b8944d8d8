"""Compiled frozen stages: what the network gives, whatever the size, the cut and the threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from marey import device
from marey.config import Precision
from marey.models import compiled_cache, compiling
from marey.models.backbone import Backbone, build, freeze
from marey.models.frozen import FrozenStages
from marey.models.trunk import Trunk

pytestmark = pytest.mark.skipif(not device.can_compile()[0], reason=device.can_compile()[1])


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    backbone = build("efficientnet_lite0").eval()
    freeze(backbone, "all")
    return backbone


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def smooth(count: int, height: int, width: int, *, seed: int = 0) -> Tensor:
    """(count, 3, height, width) normalised noise, smooth as pictures are."""
    coarse = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (height, width), mode="bicubic")


def worst_cosine(a: Tensor, b: Tensor) -> float:
    return F.cosine_similarity(a.flatten(1), b.flatten(1)).min().item()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("name", "keep"), [("efficientnet_lite0", (3, 5, 8)), ("resnet18", (4,)), ("vit_s16", (2, 4))]
)
def test_gives_what_the_network_gives(
    name: str, keep: tuple[int, ...], precision: Precision
) -> None:
    torch.manual_seed(0)
    network = build(name, "package" if name == "efficientnet_lite0" else "random").eval()
    freeze(network, "all")
    x = smooth(20, 96, 96)
    run = Trunk(network, keep, precision=precision, compiled=True)
    maps = run(x)
    assert run.path == f"compiled, {'float32' if precision == 'fp32' else 'bfloat16'}"
    with torch.no_grad():
        want = network(x)
    for i in keep:
        assert maps[i].dtype == torch.float32
        assert maps[i].shape == network.as_map(want[i]).shape
        least = 0.99999 if precision == "fp32" else 0.999
        pooled = [m.mean((2, 3)) for m in (maps[i], network.as_map(want[i]))]
        assert worst_cosine(*pooled) >= least


def test_exact_stages_and_others_from_one_call(lite0: Backbone) -> None:
    x = smooth(9, 64, 64)
    maps = Trunk(lite0, (0, 2), precision="bf16", compiled=True)(x)
    with torch.no_grad():
        want = lite0(x, stop=3)
    torch.testing.assert_close(maps[0], want[0], rtol=1e-4, atol=1e-4)
    assert worst_cosine(maps[2], want[2]) >= 0.999
    alone = Trunk(lite0, (0,), precision="bf16", compiled=True)(x)
    torch.testing.assert_close(alone[0], want[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (63, 95), (64, 95), (63, 96)])
def test_pads_as_the_network_does_at_odd_sizes(lite0: Backbone, size: tuple[int, int]) -> None:
    x = smooth(3, *size)
    maps = Trunk(lite0, (2,), precision="fp32", compiled=True)(x)
    with torch.no_grad():
        torch.testing.assert_close(maps[2], lite0(x, stop=3)[2], rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("threads")
def test_neither_the_cut_nor_the_threads_change_anything(lite0: Backbone) -> None:
    x = smooth(21, 48, 48)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        run = Trunk(lite0, (1, 5), precision="bf16", compiled=True)
        whole = run(x)
        results.append(whole)
        for part in (slice(0, 1), slice(3, 9), slice(5, 21)):
            assert torch.equal(run(x[part])[5], whole[5][part])
        channels_last = x.contiguous(memory_format=torch.channels_last)
        assert torch.equal(run(channels_last)[1], whole[1])
        assert torch.equal(run(x.double())[5], whole[5])
    for other in results[1:]:
        assert all(torch.equal(other[i], results[0][i]) for i in (1, 5))


def test_one_run_has_a_program_for_every_size(lite0: Backbone) -> None:
    run = Trunk(lite0, (1,), precision="fp32", compiled=True)
    for size in (32, 48, 32):
        x = smooth(2, size, size)
        with torch.no_grad():
            torch.testing.assert_close(run(x)[1], lite0(x, stop=2)[1], rtol=1e-3, atol=1e-3)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path))
    return tmp_path / "compiled"


def traced(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """To which something is added whenever a network is traced."""
    seen: list[object] = []
    really = compiling._traced

    def trace(stages: FrozenStages, batch: Tensor) -> list[Any]:
        seen.append(stages)
        return really(stages, batch)

    monkeypatch.setattr(compiling, "_traced", trace)
    return seen


def compiled(backbone: Backbone, x: Tensor, stage: int = 2) -> Tensor:
    run = Trunk(backbone, (stage,), precision="bf16", compiled=True)
    maps = run(x)
    assert run.path == "compiled, bfloat16"
    return maps[stage]


def test_traced_once_for_all_runs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, x = traced(monkeypatch), smooth(5, 48, 48)
    networks = [build("efficientnet_lite0") for _ in range(3)]
    with torch.no_grad():
        next(networks[2].parameters()).mul_(1.5)
    for network in networks:
        freeze(network, "all")
    first = compiled(networks[0], x)
    assert torch.equal(compiled(networks[1], x), first)
    assert len(seen) == 1
    for other in (
        lambda: compiled(networks[0], x, stage=1),
        lambda: compiled(networks[0], smooth(5, 48, 64)),
        lambda: compiled(networks[2], x),
    ):
        before = len(seen)
        other()
        assert len(seen) == before + 1
    assert len(list(cache.glob("[!.]*"))) == 4


@pytest.mark.parametrize(("file", "left"), [("0.xml", 0), ("1.bin", 1000), ("1.xml", 1000)])
def test_what_is_kept_and_broken_is_made_anew(
    cache: Path, lite0: Backbone, monkeypatch: pytest.MonkeyPatch, file: str, left: int
) -> None:
    seen, x = traced(monkeypatch), smooth(3, 32, 32)
    first = compiled(lite0, x)
    [broken] = cache.glob(f"*/{file}")
    whole = broken.read_bytes()
    broken.write_bytes(whole[:left])
    assert torch.equal(compiled(lite0, x), first)
    assert len(seen) == 2
    assert len(broken.read_bytes()) == len(whole)
    assert torch.equal(compiled(lite0, x), first)
    assert len(seen) == 2


def test_no_other_network_takes_its_place(
    cache: Path, lite0: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = smooth(3, 32, 32)
    first = compiled(lite0, x)
    other = build("efficientnet_lite0", "random")
    freeze(other, "all")
    compiled(other, x)
    one, two = cache.glob("*/1.bin")
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    seen = traced(monkeypatch)
    assert torch.equal(compiled(lite0, x), first)
    assert len(seen) == 1
    stages, really = FrozenStages(other, (2,), torch.bfloat16), compiling._traced
    monkeypatch.setattr(compiling, "_traced", lambda _, batch: really(stages, batch))
    for kept in cache.glob("*/*"):
        kept.unlink()
    run = Trunk(lite0, (2,), precision="bf16", compiled=True)
    assert worst_cosine(run(x)[2], first) >= 0.999
    assert "not those of PyTorch" in run.path


def test_runs_where_nothing_can_be_kept(
    cache: Path, lite0: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file, where a folder should be")
    compiled(lite0, smooth(1, 32, 32))
    assert "not kept for other runs" in caplog.text
    assert str(cache) in caplog.text


def test_the_longest_unused_goes_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, seen = build("resnet18", "random"), traced(monkeypatch)
    freeze(network, "all")

    def again(size: int) -> bool:
        """Whether the network was traced for pictures of this size."""
        before = len(seen)
        compiled(network, smooth(1, size, size), stage=0)
        return len(seen) > before

    assert again(32)
    assert again(40)
    folders = list(cache.glob("[!.]*"))
    for age, folder in enumerate(sorted(folders, key=lambda folder: folder.stat().st_mtime)):
        os.utime(folder, (age, age))
    assert not again(32)  # now the younger one
    each = sum(file.stat().st_size for file in folders[0].iterdir())
    monkeypatch.setattr(compiled_cache, "_ROOM", int(2.5 * each))
    assert again(48)
    assert not again(48)
    assert not again(32)
    assert again(40)


SIGNALLED = """
import faulthandler, signal
import torch
from marey.models.backbone import build, freeze
from marey.models.trunk import Trunk

faulthandler.enable()
backbone = build("resnet18", "random")
freeze(backbone, "all")
one, other = (Trunk(backbone, (0,), compiled=True) for _ in range(2))
one(torch.zeros(1, 3, 32, 32))
other(torch.zeros(1, 3, 32, 32))
del one
del other
signal.signal(signal.SIGINT, lambda *_: print("heard"))
signal.raise_signal(signal.SIGINT)
"""


def test_signals_arrive_when_networks_are_gone() -> None:
    ends = subprocess.run(
        [sys.executable, "-c", SIGNALLED], capture_output=True, text=True, check=False
    )
    assert (ends.returncode, ends.stdout) == (0, "heard\n"), ends.stderr[-2000:]


LISTENING = """
import sys

def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen"):
        raise SystemExit(f"{event} {args}")

import torch
from marey.models.backbone import build, freeze
from marey.models.trunk import Trunk

backbone = build("resnet18", "random")
freeze(backbone, "all")
run = Trunk(backbone, (0,), compiled=True)
sys.addaudithook(refuse)
run(torch.zeros(1, 3, 32, 32))
assert run.path.startswith("compiled"), run.path
assert "openvino" in sys.modules
assert "openvino_telemetry" not in sys.modules
import openvino_telemetry  # for whoever wants it, it is there still
print(openvino_telemetry.heard)
"""


def test_nobody_is_told(tmp_path: Path) -> None:
    """OpenVINO reports its import to its makers, by a package that it installs with itself."""
    package = tmp_path / "openvino_telemetry"
    (package / "backend").mkdir(parents=True)
    (package / "__init__.py").write_text(
        "heard = []\n"
        "class Telemetry:\n"
        "    def __init__(self, app_name, **settings):\n"
        "        self.backend = type('Backend', (), {'app_name': app_name})\n"
        "    def __getattr__(self, name): return lambda *a, **k: heard.append((name, a))\n"
    )
    (package / "backend" / "__init__.py").touch()
    (package / "backend" / "backend_ga4.py").touch()
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    ends = subprocess.run(
        [sys.executable, "-c", script + LISTENING], capture_output=True, text=True, check=False
    )
    assert (ends.returncode, ends.stdout.strip()) == (0, "[]"), ends.stderr[-2000:]
    loud = subprocess.run(  # the other way round: what is stopped here is really there
        [
            sys.executable,
            "-c",
            script + "import openvino, openvino_telemetry as t; print(t.heard)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "import" in loud.stdout
