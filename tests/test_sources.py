"""Weights from elsewhere: never without a checksum, whole or not at all, going on where it stopped.

The server is one of the standard library on this machine; nothing here leaves it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from marey.errors import CheckpointError, ConfigError, StorageError
from marey.models import sources
from marey.models.backbone import build, freeze
from marey.models.resnet import resnet18
from marey.models.sources import locate
from marey.models.trunk import Trunk

CONTENT = np.random.default_rng(0).bytes(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content` under every name but `absent`.

    content: of every file.  ranges: whether it can begin in the middle.
    breaks: bytes after which it breaks off, once.  asked: the ranges asked for.
    """

    content = CONTENT
    ranges = True
    breaks = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/models/some%20weights.safetensors?x=1"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        asked = self.headers.get("Range", "")
        server.asked.append(asked)
        if "absent" in self.path:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if server.ranges else 0
        if start and start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if server.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.breaks:
            body, server.breaks = body[: server.breaks], 0
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def kept(tmp_path: Path) -> list[str]:
    files = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    return sorted(path.name for path in files if path.suffix != ".lock")


@pytest.mark.parametrize("ranges", [True, False])
def test_downloads_once(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.ranges = ranges
    for digest in (DIGEST, DIGEST.upper()):
        path = locate(f"{server.address}#sha256={digest}")
        assert path.name == "some weights.safetensors"
        assert path.read_bytes() == CONTENT
    assert len(server.asked) == 1
    assert kept(tmp_path) == ["some weights.safetensors"]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("after", [1, 1_500_000])
def test_goes_on_where_it_broke_off(
    server: Server, tmp_path: Path, ranges: bool, after: int
) -> None:
    server.ranges, server.breaks = ranges, after
    source = f"{server.address}#sha256={DIGEST}"
    with pytest.raises(CheckpointError, match="the same command goes on"):
        locate(source)
    assert kept(tmp_path) == ["some weights.safetensors.part"]
    assert locate(source).read_bytes() == CONTENT
    assert server.asked == ["bytes=0-", f"bytes={after}-"]
    assert kept(tmp_path) == ["some weights.safetensors"]


def test_whole_part_of_a_killed_download(server: Server, tmp_path: Path) -> None:
    folder = sources.cache_folder() / "weights" / DIGEST[:24]
    folder.mkdir(parents=True)
    (folder / "some weights.safetensors.part").write_bytes(CONTENT)
    assert locate(f"{server.address}#sha256={DIGEST}").read_bytes() == CONTENT


@pytest.mark.parametrize("begun", [False, True])
def test_another_file_than_was_meant(server: Server, tmp_path: Path, begun: bool) -> None:
    digest = "0" * 64
    if begun:
        folder = sources.cache_folder() / "weights" / digest[:24]
        folder.mkdir(parents=True)
        (folder / "some weights.safetensors.part").write_bytes(b"x" * 5_000_000)
    with pytest.raises(CheckpointError, match="not the file that was meant"):
        locate(f"{server.address}#sha256={digest}")
    assert kept(tmp_path) == []


@pytest.mark.parametrize("mark", ["", "#sha256=", "#sha256=abc", f"#md5={DIGEST}"])
def test_no_address_without_checksum(server: Server, mark: str) -> None:
    with pytest.raises(ConfigError, match="append #sha256="):
        locate(server.address + mark)
    assert not server.asked


def test_addresses_that_do_not_answer(server: Server, tmp_path: Path) -> None:
    absent = server.address.replace("some", "absent")
    with pytest.raises(CheckpointError, match="the server answers 404 Not Found"):
        locate(f"{absent}#sha256={DIGEST}")
    with pytest.raises(CheckpointError, match="cannot be downloaded"):
        locate(f"http://127.0.0.1:1/weights.pth#sha256={DIGEST}")
    assert kept(tmp_path) == []


def test_cache_that_cannot_be_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="could not be written"):
        locate(f"{server.address}#sha256={DIGEST}")


def test_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAREY_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert sources.cache_folder() == Path("/somewhere/marey")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert sources.cache_folder() == Path.home() / ".cache" / "marey"


def test_a_user_without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a container that runs under a number that it has no name for."""

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MAREY_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(StorageError, match="MAREY_CACHE"):
        sources.cache_folder()
    network = build("resnet18", "random")
    freeze(network, "all")
    run = Trunk(network, (0,), compiled=True)
    assert run(torch.zeros(1, 3, 32, 32))[0].shape[0] == 1
    assert "MAREY_CACHE" in run.path


def test_a_path_is_a_path() -> None:
    assert locate("some/weights.pth") == Path("some/weights.pth")
    assert locate(Path("a")) == Path("a")


def test_a_backbone_from_an_address(server: Server) -> None:
    source = resnet18()
    server.content = save(source.state_dict())
    digest = hashlib.sha256(server.content).hexdigest()
    network = build("resnet18", f"{server.address}#sha256={digest}")
    assert torch.equal(network.get_submodule("conv1").weight, source.conv1.weight)
    with pytest.raises(CheckpointError, match=r"150 are missing \(cls_token, pos_embed"):
        build("vit_s16", f"{server.address}#sha256={digest}")
