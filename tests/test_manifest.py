"""A corpus as a table: what is read, what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.parquet import read_table, write_table

from marey.errors import ManifestError, StorageError
from marey.manifest import Entry, Manifest

TABLE = """path,split,action,frames,boundaries,words
test/a.mp4,test,squat,151,61 146,bin blue
train/b.mp4,train,golf,80,,
"""
ENTRIES = (
    ("test/a.mp4", "test", "squat", 151, (61, 146), {"words": "bin blue"}),
    ("train/b.mp4", "train", "golf", 80, None, {"words": ""}),
)


def told(manifest: Manifest) -> tuple[tuple[object, ...], ...]:
    return tuple(
        (e.name, e.split, e.action, e.frames, e.boundaries, dict(e.extra)) for e in manifest
    )


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def table(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path) -> str:
    """The message about a table that must be refused: one sentence that names the file."""
    with pytest.raises(ManifestError) as caught:
        Manifest.read(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("encoding", "change"),
    [
        ("utf-8", ("", "")),
        ("utf-8-sig", ("", "")),
        ("utf-8", ("\n", "\r\n")),
        ("utf-8-sig", (",", ";")),
        ("utf-8", (",", "\t")),
        ("utf-8", ("\n", "\n\n")),
        ("utf-8", (",", " , ")),
        ("utf-8", ("61 146", '"61, 146"')),
        ("utf-8", (",151,", ",151.0,")),
        ("utf-8", ("\n", ",,\n")),
    ],
)
def test_reads_a_table_however_a_spreadsheet_saved_it(
    tmp_path: Path, encoding: str, change: tuple[str, str]
) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(TABLE.replace(*change).encode(encoding))
    manifest = Manifest.read(path)
    assert told(manifest) == ENTRIES
    assert [entry.path for entry in manifest] == [tmp_path / entry[0] for entry in ENTRIES]


def test_only_the_path_is_needed_and_may_be_absolute(tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where, ü.mp4"
    path = table(tmp_path, f'path\n"{elsewhere}"\n')
    (entry,) = Manifest.read(path)
    assert entry == Entry(str(elsewhere), elsewhere)


def test_parquet_has_lists_numbers_with_gaps_and_text(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    columns = {
        "path": ["a.mp4", "b.mp4", "c.mp4"],
        "frames": [10.0, float("nan"), None],
        "boundaries": [[3, 7], None, []],
        "score": [1, None, 3],
    }
    write_table(pa.table(columns), path)
    first, second, third = Manifest.read(path)
    assert (first.frames, first.boundaries, first.extra) == (10, (3, 7), {"score": "1"})
    assert (second.frames, second.boundaries, second.extra) == (None, None, {"score": ""})
    assert third.boundaries == ()
    write_table(pa.table({"path": ["a.mp4"], "boundaries": ["3 7"]}), path)
    assert next(iter(Manifest.read(path))).boundaries == (3, 7)


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.parquet", "OUT.CSV"])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "far" / "c;d,e.mp4"
    inside = tmp_path / "near" / "in" / "ü b.mp4"
    manifest = Manifest(
        (
            Entry("in/ü b.mp4", inside, "train", "a,b;c\td", 9, (4, 8), {"x": '"', "y": ""}),
            Entry(str(outside), outside, extra={"x": "", "y": "two\nlines"}),
        )
    )
    (tmp_path / "near").mkdir()
    path = tmp_path / "near" / name
    manifest.write(path)
    assert Manifest.read(path) == manifest
    assert [p.name for p in path.parent.iterdir()] == [name]


def test_written_parquet_has_typed_columns(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    Manifest((Entry("a.mp4", tmp_path / "a.mp4", frames=9, boundaries=()),)).write(path)
    types = dict(zip(read_table(path).schema.names, read_table(path).schema.types, strict=True))
    assert types["frames"] == pa.int64()
    assert types["boundaries"] == pa.list_(pa.int64())
    assert next(iter(Manifest.read(path))).boundaries == ()


def test_writing_fails_with_a_reason_and_leaves_nothing(tmp_path: Path) -> None:
    manifest = Manifest((Entry("a.mp4", tmp_path / "a.mp4"),))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(StorageError, match=r"folder\.csv could not be written"):
        manifest.write(tmp_path / "folder.csv")
    with pytest.raises(ManifestError, match=r"out\.xls is no table's name"):
        manifest.write(tmp_path / "out.xls")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.csv"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a.mp4,x,\n", ["line 2", "column frames", "'x'"]),
        ("a.mp4,1.5,\n", ["line 2", "column frames", "'1.5'"]),
        ("a.mp4,0,\n", ["line 2", "a.mp4", "0 frames"]),
        ("a.mp4,9,\nb.mp4,9,3 x\n", ["line 3", "column boundaries", "'x'"]),
        ("a.mp4,9,\n\nb.mp4,9,5 3\n", ["line 4", "b.mp4", "do not increase", "(5, 3)"]),
        ("a.mp4,9,3 3\n", ["line 2", "do not increase"]),
        ("a.mp4,9,0 3\n", ["line 2", "do not increase from 1"]),
        ("a.mp4,9,3 9\n", ["line 2", "boundary at frame 9", "9 frames"]),
        (",9,3\n", ["line 2", "column path is empty"]),
        ("a.mp4,9,3,4\n", ["line 2 has 4 columns, the first 3"]),
        ('a.mp4,9,"3\n', ["line 2", "unexpected end of data"]),
        ("", ["lists no videos"]),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, rows: str, words: list[str]) -> None:
    message = refused(table(tmp_path, "path,frames,boundaries\n" + rows))
    assert [word for word in words if word not in message] == [], message


def test_of_several_lines_on_one_video_the_last_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = table(tmp_path, "path,frames\na.mp4,9\nb.mp4,5\n./c/../a.mp4,7\n")
    assert [entry.frames for entry in Manifest.read(path)] == [7, 5]
    (message,) = caplog.messages
    assert f"{path}, line 4" in message


def test_a_wrong_table_is_named(tmp_path: Path) -> None:
    assert "split, action" in refused(table(tmp_path, "split,action\ntrain,squat\n"))
    assert "no column twice" in refused(table(tmp_path, "path,path\na,b\n"))
    assert "has none" in refused(table(tmp_path, ""))
    assert "cannot be read (No such file" in refused(tmp_path / "none.csv")
    assert "not a table" in refused(tmp_path / "labels.xlsx")
    latin = tmp_path / "latin.csv"
    latin.write_bytes("path\nü.mp4\n".encode("latin-1"))
    assert "UTF-8" in refused(latin)
    fake = tmp_path / "fake.parquet"
    fake.write_text("path\na.mp4\n")
    assert "cannot be understood" in refused(fake)


def test_a_folder_is_its_videos_and_not_its_table(tmp_path: Path) -> None:
    touch(tmp_path / "b.mp4", tmp_path / "A.MOV", tmp_path / "sub" / "c.MkV")
    touch(tmp_path / "notes.txt", tmp_path / ".hidden.mp4", tmp_path / ".cache" / "d.mp4")
    table(tmp_path, TABLE)
    for manifest in (Manifest.from_folder(tmp_path), Manifest.read(tmp_path)):
        assert [entry.name for entry in manifest] == ["A.MOV", "b.mp4", "sub/c.MkV"]
        assert all(entry.path == tmp_path / entry.name for entry in manifest)
        assert all((entry.split, entry.boundaries) == ("", None) for entry in manifest)


@pytest.mark.parametrize(
    ("names", "actions"),
    [
        (["golf/a.mp4", "golf/b.mp4", "squat/a.mp4", "squat/b.mp4"], ["golf"] * 2 + ["squat"] * 2),
        (["a b/1.mp4", "a b/2.mp4", "a/1.mp4", "a/2.mp4"], ["a b"] * 2 + ["a"] * 2),
        (["a.mp4", "b.mp4"], None),  # no folders
        (["golf/a.mp4", "golf/b.mp4", "squat/a.mp4", "squat/b.mp4", "z.mp4"], None),  # one outside
        (["d1/cam1/a.mp4", "d1/cam2/a.mp4", "d2/cam1/a.mp4", "d2/cam2/a.mp4"], None),  # deeper
        (["golf/a.mp4", "golf/b.mp4", "squat/a.mp4", "squat/x/b.mp4"], None),  # one is deeper
        (["clips/a.mp4", "clips/b.mp4"], None),  # a single folder says nothing
        (["1/video.mp4", "2/video.mp4"], None),  # a folder for each video
        (["golf/a.mp4", "golf/b.mp4", "squat/a.mp4"], None),  # nothing to compare squats with
    ],
)
def test_one_folder_per_action_names_the_actions(
    tmp_path: Path, names: list[str], actions: list[str] | None
) -> None:
    touch(*(tmp_path / name for name in names), tmp_path / "golf" / "notes.txt")
    manifest = Manifest.from_folder(tmp_path)
    assert [entry.name for entry in manifest] == names
    assert [entry.action for entry in manifest] == (actions or [""] * len(names))


def test_in_a_mixture_each_folder_is_judged_by_itself(tmp_path: Path) -> None:
    touch(*(tmp_path / "acts" / f"{act}/{i}.mp4" for act in ("golf", "squat") for i in (0, 1)))
    touch(tmp_path / "flat" / "a.mp4")
    manifest = Manifest.of([tmp_path / "acts", tmp_path / "flat"])
    assert [entry.action for entry in manifest] == ["golf", "golf", "squat", "squat", ""]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "real" / "a.mp4", tmp_path / "corpus" / "b.mp4")
    (tmp_path / "corpus" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "corpus" / "link.mp4").symlink_to(tmp_path / "real" / "a.mp4")
    (tmp_path / "real" / "back").symlink_to(tmp_path / "corpus")
    names = [entry.name for entry in Manifest.from_folder(tmp_path / "corpus")]
    assert names == ["b.mp4", "link.mp4", "link/a.mp4"]


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="holds no videos"):
        Manifest.from_folder(tmp_path)
    with pytest.raises(ManifestError, match="is not a folder"):
        Manifest.from_folder(tmp_path / "none")


def test_a_folder_that_must_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ManifestError, match=r"cannot be read \(Permission denied\)") as caught:
        Manifest.from_folder(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_mixture_keeps_order_and_tells_equal_names_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(Path("x/a.mp4"), Path("y/a.mp4"), Path("z.mp4"))
    Path("t").mkdir()
    table(Path("t"), "path,action\na.mp4,squat\n")
    manifest = Manifest.of(["z.mp4", Path("y"), "x/", "t/labels.csv"])
    assert [entry.name for entry in manifest] == ["z.mp4", "y/a.mp4", "x/a.mp4", "t/a.mp4"]
    assert [entry.action for entry in manifest] == ["", "", "", "squat"]
    assert [entry.name for entry in manifest.missing()] == ["t/a.mp4"]
    assert Manifest.of(["x"]) == Manifest.from_folder("x")
    assert Manifest.of(["t/labels.csv"]) == Manifest.read("t/labels.csv")
    with pytest.raises(ManifestError, match=r"a\.mp4 is listed 2 times"):
        Manifest.of(["x", "x/a.mp4"])
    with pytest.raises(ManifestError, match="vidoes does not exist"):
        Manifest.of(["x", "vidoes"])
    with pytest.raises(ManifestError, match="no video was given"):
        Manifest.of([])


def test_missing_files_are_counted_and_the_first_named(tmp_path: Path) -> None:
    names = [f"{i}.mp4" for i in range(9)]
    manifest = Manifest.read(table(tmp_path, "\n".join(["path", *names])))
    touch(tmp_path / "0.mp4", tmp_path / "4.mp4")
    assert [entry.name for entry in manifest.missing()] == [n for n in names if n[0] not in "04"]
    with pytest.raises(ManifestError, match=r"7 of 9 videos.*1\.mp4.*2\.mp4.*3\.mp4, \.\.\."):
        manifest.check_files()
    touch(*(tmp_path / name for name in names))
    assert manifest.missing() == ()
    manifest.check_files()


def test_selects_by_split_and_action(tmp_path: Path) -> None:
    rows = [("train", "squat"), ("test", "squat"), ("train", "golf"), ("", "")]
    manifest = Manifest(tuple(Entry(str(i), Path(str(i)), *row) for i, row in enumerate(rows)))
    assert manifest.actions() == ("golf", "squat")
    assert [entry.name for entry in manifest.select(split="train")] == ["0", "2"]
    assert [entry.name for entry in manifest.select(action="squat")] == ["0", "1"]
    assert [entry.name for entry in manifest.select(split="train", action="squat")] == ["0"]
    assert [entry.name for entry in manifest.select(split="")] == ["3"]
    assert len(manifest.select(split="val")) == 0
    assert len(manifest.select()) == 4


@given(st.sets(st.integers(1, 60), max_size=8), st.integers(61, 80))
def test_phases_count_the_boundaries_passed(boundaries: set[int], frames: int) -> None:
    entry = Entry("a", Path("a"), boundaries=tuple(sorted(boundaries)))
    phases = entry.phases(frames)
    assert phases.dtype == np.int64
    assert phases.tolist() == [sum(b <= t for b in boundaries) for t in range(frames)]


def test_phases_need_labels_that_fit() -> None:
    with pytest.raises(ManifestError, match="no phase labels"):
        Entry("a", Path("a")).phases(10)
    with pytest.raises(ManifestError, match=r"boundary at frame 10, but only 10 frames"):
        Entry("a", Path("a"), boundaries=(3, 10)).phases(10)


def test_reference_tables_are_readable_as_they_are(shared: Path) -> None:
    for path in sorted((shared / "data").glob("*/labels.csv")):
        manifest = Manifest.read(path)
        rows = path.read_text().splitlines()[1:]
        rows = list({row.partition(",")[0]: row for row in rows}.values())
        assert len(manifest) == len(rows)
        manifest.check_files()
        for entry, row in zip(manifest, rows, strict=True):
            name, split, action, frames, boundaries, *_ = row.split(",")
            assert (entry.name, entry.split, entry.action) == (name, split, action)
            assert entry.frames == int(frames)
            assert " ".join(map(str, entry.boundaries or ())) == boundaries
