"""What a user does first, done with the installed package, in an empty folder.

Arguments name extras whose use is to be tried too. Run by `check.py` with `python -I`, so that
nothing is imported from where it runs.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path

import marey

CLIENT = """
from typing import assert_type

import marey

trained = marey.train("videos", out="run")
pair = marey.align(trained.run, "a.mp4", "b.mp4")
assert_type(pair.alignability, float)
assert_type(trained.steps, int)  # and not Any
"""


def command(*words: str | Path) -> str:
    """What `marey` of this environment prints."""
    program = Path(sys.executable).with_name("marey")
    done = subprocess.run(
        [str(program), *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def first_steps() -> None:
    home = Path(marey.__file__)
    assert Path(sys.prefix) in home.parents, home
    assert (home.parent / "py.typed").is_file()
    for name in marey.__all__:
        assert callable(getattr(marey, name)), name
    assert "marey COMMAND --help" in command("--help")
    assert marey.__version__ in command("--version")
    assert "torch" in command("doctor")

    import numpy as np

    from marey.manifest import Manifest
    from marey.synthetic.world import tiny_world

    labels = tiny_world(Path("world"))
    few = ["--split", "train", "--data.steps", "3", "--data.copies", "1"]
    command("train", "carl_tiny", labels, "--out", "run", *few)
    a, b = (entry.path for entry in Manifest.read(labels).select(split="test").entries[:2])
    assert "rows of 2 videos" in command("embed", "run", a, b, "--out", "e.parquet")
    assert "alignability" in command("align", "run", a, b, "--out", "p.png", "p.csv")
    (rows,) = marey.embed("run", [a])
    np.testing.assert_allclose(np.linalg.norm(rows.vectors, axis=1), 1, rtol=1e-5)


def tensorboard() -> None:
    few = ["--split", "train", "--data.steps", "3", "--data.copies", "1"]
    command("train", "carl_tiny", "world/labels.csv", "--out", "seen", "--tensorboard", *few)
    assert list(Path("seen").glob("events.out.tfevents.*"))


def hub() -> None:
    """The real package has what is asked of it, and its errors become one sentence."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import huggingface_hub

    from marey.errors import CheckpointError
    from marey.hub import RUN_FILES, fetch_file, fetch_run

    for name, arguments in {
        "hf_hub_download": {"repo_id": "a/b", "filename": "c", "revision": None},
        "snapshot_download": {"repo_id": "a/b", "revision": None, "allow_patterns": [*RUN_FILES]},
        "create_repo": {"repo_id": "a/b", "private": True, "exist_ok": True},
        "upload_folder": {"repo_id": "a/b", "folder_path": ".", "commit_message": "text"},
    }.items():
        inspect.signature(getattr(huggingface_hub, name)).bind(**arguments)
    for fetch, address in ((fetch_file, "hf://a/b/c"), (fetch_run, "hf://a/b")):
        try:
            fetch(address)
        except CheckpointError as error:
            assert "\n" not in str(error)
            assert address in str(error)
        else:
            raise AssertionError(address)


def bare() -> None:
    """Without an extra, the extra is named."""
    from marey.errors import ConfigError
    from marey.hub import fetch_file

    assert not any(map(importlib.util.find_spec, ("huggingface_hub", "onnx", "tensorboard")))
    for name, missing in {
        "hub": lambda: fetch_file("hf://a/b/c"),
        "onnx": lambda: marey.export_run("run", "exported", format="onnx"),
        "tensorboard": lambda: marey.train("world/labels.csv", "seen", tensorboard=True),
    }.items():
        try:
            missing()
        except ConfigError as error:
            assert f"pip install marey[{name}]" in str(error)
        else:
            raise AssertionError(name)


def types() -> None:
    """A type checker sees the package's types."""
    Path("client.py").write_text(CLIENT, "utf-8")
    words = [sys.executable, "-m", "mypy", "--strict", "client.py"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    first_steps()
    for extra in sys.argv[1:]:
        {"bare": bare, "tensorboard": tensorboard, "hub": hub, "types": types}[extra]()
