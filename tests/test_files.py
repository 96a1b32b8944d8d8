"""Results are written whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from marey.errors import StorageError
from marey.files import recover_folder, replacing, replacing_folder, storing


def test_a_file_takes_its_place_only_when_all_went_well(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with replacing(path) as draft:
        draft.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    with pytest.raises(RuntimeError), replacing(path) as draft:
        draft.write_text("half")
        raise RuntimeError
    assert path.read_text() == "one"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_folder_takes_its_place_only_when_all_went_well(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    for text in ("one", "two"):
        with replacing_folder(path) as draft:
            (draft / "state").write_text(text)
    assert (path / "state").read_text() == "two"
    with pytest.raises(RuntimeError), replacing_folder(path) as draft:
        (draft / "state").write_text("half")
        raise RuntimeError
    assert (path / "state").read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    old = tmp_path / ".checkpoint.old"
    old.mkdir()
    (old / "state").write_text("one")
    recover_folder(tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint" / "state").read_text() == "one"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "disk is full; free some space"),
        (errno.EACCES, "no permission"),
        (errno.EIO, "could not be written"),
    ],
)
def test_what_the_system_refuses_becomes_one_sentence(code: int, message: str) -> None:
    with pytest.raises(StorageError, match=message) as caught, storing(Path("out.parquet")):
        raise OSError(code, "refused")
    assert str(caught.value).startswith("out.parquet")
    assert "\n" not in str(caught.value)


def test_a_parent_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match="could not be written"),
        replacing(tmp_path / "file" / "x"),
    ):
        pass
