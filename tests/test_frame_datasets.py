"""Public data sets with labels of frames: made into videos, labelled, and never executed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corner import FRAMES, PHASES, Corner, jpeg, pixels, short, told
from marey.errors import ManifestError
from marey.video import read, write
from tfrecords import framed, sequence


@pytest.fixture
def corner(tmp_path: Path) -> Corner:
    return Corner(tmp_path / "root")


class Call:
    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.made),)


def penn(corner: Corner) -> None:
    for number, action, train in ((1, "bowl", 1), (2, "bowl", -1), (3, "jump_rope", 1)):
        about = {"action": action, "train": train, "nframes": FRAMES, "bbox": np.ones((8, 4))}
        corner.mat(f"labels/{number:04}.mat", about)
        corner.jpegs(f"frames/{number:04}")


def test_penn_action_becomes_videos(corner: Corner) -> None:
    penn(corner)
    corner.mat("labels/0004.mat", {"action": "bowl", "train": 1, "nframes": FRAMES})
    corner.mat("labels/0005.mat", {"action": "bowl"})
    corner.jpegs("frames/0005")
    corner.jpegs("frames/0006")
    for number in (7, 8):
        corner.mat(f"labels/{number:04}.mat", {"action": "bowl", "train": 1, "nframes": FRAMES})
        corner.jpegs(f"frames/{number:04}")
    (corner.root / "frames/0007/000003.jpg").unlink()
    picture = corner.root / "frames/0008/000003.jpg"
    picture.write_bytes(picture.read_bytes()[:-50])
    done, rows = corner.prepare("penn_action")
    assert short(rows) == {
        "train/0001": ("bowl", None),
        "test/0002": ("bowl", None),
        "train/0003": ("jump_rope", None),
    }
    assert told(done.missing) == ["0004", "videos"]
    assert dict(done.missing)["videos"].startswith("8 of 2,326 videos have frames or labels")
    assert sorted(told(done.corrupt)) == ["0005", "0007", "0008"]
    assert told(done.unexpected) == ["0006"]
    back = read(rows["train/0001"].path).pixels
    assert np.abs(back.astype(int) - pixels()).max() <= 4
    assert sorted(os.listdir(corner.out.parent / "set_videos")) == [
        "0001.mp4",
        "0002.mp4",
        "0003.mp4",
    ]


def test_penn_action_goes_on_where_it_stopped(corner: Corner) -> None:
    penn(corner)
    _, rows = corner.prepare("penn_action")
    first, second, third = (rows[n].path for n in ("train/0001", "test/0002", "train/0003"))
    before = first.stat().st_mtime_ns
    second.write_bytes(second.read_bytes()[:200])
    write(third, pixels(5), 25)  # a video of another length is not the one
    _, rows = corner.prepare("penn_action")
    assert len(rows) == 3
    assert {entry.frames for entry in rows.values()} == {FRAMES}
    assert first.stat().st_mtime_ns == before


def test_the_table_may_lie_inside_the_set_and_links_in_a_circle(corner: Corner) -> None:
    penn(corner)
    corner.out = corner.root / "penn.csv"
    _, first = corner.prepare("penn_action")
    assert corner.prepare("penn_action")[1] == first
    corner.video("train/a.mp4")
    (corner.root / "train" / "again").symlink_to(corner.root)
    corner.out = corner.root / "pouring.csv"
    done, rows = corner.prepare("pouring")
    assert list(rows) == ["train/a"]
    assert all(name.startswith("penn_videos/") for name in told(done.unexpected))


def as_arrays(folder: Path) -> None:
    for name, phases in (("train/bowl/0001", PHASES), ("val/bowl/0002", [0] * 4 + [2] * 4)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, phases)


def as_pickles(folder: Path) -> None:
    for split, name, phases in (("train", "0001_bowl", PHASES), ("val", "0002_bowl", [1] * 8)):
        record = {"id": 0, "name": name, "video_file": "x.mp4", "frame_label": np.array(phases)}
        (folder / f"{split}.pkl").write_bytes(pickle.dumps(([record], [[0]])))


def as_records(folder: Path) -> None:
    for split, name, phases in (("train", "0001_bowl", PHASES), ("val", "0002_bowl", [-1] * 8)):
        data = sequence({"name": [name.encode()]}, movie(8, phases))
        (folder / f"penn_action_{split}-0.tfrecord").write_bytes(framed(data))


@pytest.mark.parametrize("form", [as_arrays, as_pickles, as_records])
def test_key_events_of_penn_action(corner: Corner, tmp_path: Path, form: Any) -> None:
    penn(corner)
    folder = tmp_path / "train_or_so"
    folder.mkdir()
    form(folder)
    done, rows = corner.prepare("penn_action", labels=folder)
    assert short(rows) == {
        "train/0001": ("bowl", (3, 5)),
        "test/0002": ("bowl", None),  # a phase is skipped
        "train/0003": ("jump_rope", None),
    }
    assert told(done.unexpected) == ["0002"]
    assert told(done.missing) == ["videos", "key events"]
    assert dict(done.missing)["key events"].startswith("2 of 2,106 videos")


def test_key_events_that_do_not_fit(corner: Corner, tmp_path: Path) -> None:
    penn(corner)
    for name, phases in (("test/bowl/0001.npy", [0] * 6 + [1] * 10), ("train/bowl/0009.npy", [0])):
        (tmp_path / "events" / name).parent.mkdir(parents=True)
        np.save(tmp_path / "events" / name, phases)
    np.save(tmp_path / "events" / "0002.npy", [0])
    done, rows = corner.prepare("penn_action", labels=tmp_path / "events")
    assert rows["test/0001"].boundaries == (3,)
    assert dict(done.unexpected).keys() == {"0001", "0002.npy", "0009"}
    assert [s for n, s in done.unexpected if n == "0001"] == [
        "it is train in the set but test in the key events, which are followed.",
        "it has 8 frames but labels for 16; they were fitted to it.",
    ]
    hostile = np.array([Call(tmp_path / "made")], object)
    np.save(tmp_path / "events/train/bowl/0009.npy", hostile, allow_pickle=True)
    with pytest.raises(ManifestError, match=r"0009\.npy is not an array of numbers"):
        corner.prepare("penn_action", labels=tmp_path / "events")
    assert not (tmp_path / "made").exists()


def movie(frames: int, phases: list[int]) -> dict[str, list[Any]]:
    video = [[jpeg(frame)] for frame in pixels(frames)]
    return {"video": video, "frame_labels": [[phase] for phase in phases]}


def recording(name: str, phases: list[int] = PHASES) -> bytes:
    context = {"name": [name.encode()], "len": [FRAMES], "label": [-1]}
    return framed(sequence(context, movie(FRAMES, phases)))


def test_pouring_from_records(corner: Corner) -> None:
    damaged = bytearray(recording("three"))
    damaged[len(damaged) // 2] ^= 1
    no_video = framed(sequence({"name": [b"four"]}, {}))
    train = [recording("one"), bytes(damaged), no_video, recording("two"), recording("lost")[:-9]]
    corner.put("pouring_train-0-of-2.tfrecord", b"".join(train))
    corner.put("pouring_val-0-of-1.tfrecord", recording("five", [0] * 8))
    corner.put("pouring.tfrecord", b"")
    done, rows = corner.prepare("pouring")
    assert short(rows) == {
        "train/one": ("pouring", (3, 5)),
        "train/two": ("pouring", (3, 5)),
        # the table's text cannot tell a single phase from none
        "val/five": ("pouring", None),
    }
    assert np.abs(read(rows["train/two"].path).pixels.astype(int) - pixels()).max() <= 4
    whys = [why for _, why in done.corrupt]
    assert told(done.corrupt) == ["pouring_train-0-of-2.tfrecord"] * 3
    for why, words in zip(whys, ("is damaged", "not a video with name", "cut off"), strict=True):
        assert words in why
    assert told(done.unexpected) == ["pouring.tfrecord"]
    assert told(done.missing) == ["train", "val", "pouring_train-1-of-2.tfrecord"]
    assert dict(done.missing)["train"].startswith("2 of its 70 videos")


def test_pouring_from_videos(corner: Corner) -> None:
    corner.video("train/a.mp4", "val/a.mp4", "c.mp4", "else/train/d.mp4")
    corner.broken("val/b.mp4")
    done, rows = corner.prepare("pouring")
    assert short(rows) == {"train/a": ("pouring", None), "val/a": ("pouring", None)}
    assert told(done.corrupt) == ["val/b.mp4"]
    assert told(done.unexpected) == ["c.mp4", "else/train/d.mp4"]
    assert told(done.missing) == ["train", "val"]
    corner.video(
        *(f"{split}/{i}.mp4" for split, n in (("train", 69), ("val", 13)) for i in range(n))
    )
    assert corner.prepare("pouring")[0].missing == ()


def finegym(corner: Corner) -> None:
    """A recording of 4 s at 10 frames per second, each second brighter by 50; and an event."""
    shades = (20 + 50 * (np.arange(40) // 10)).astype(np.uint8)
    frames = np.broadcast_to(shades[:, None, None, None], (40, 32, 32, 3)).copy()
    write(corner.root / "-rec.mp4", frames, 10)
    corner.video("p_A_E_re_E_1_2.mp4", "spare.mp4")
    segments = {
        "A_0000_0001": {"stages": 1, "timestamps": [[0.2, 0.4]]},
        "A_0001_0002": {"stages": 2, "timestamps": [[0.0, 0.1], [0.6, 0.8]]},
        "A_0002_0003": {"stages": 1, "timestamps": [[0.9, 1.5]]},
    }
    corner.json(
        "annotations/finegym_annotation_info_v1.1.json",
        {
            "-rec": {
                "E_1_2": {"event": 2, "timestamps": [[1, 2.0]], "segments": segments},
                "E_2_3": {"event": 1, "timestamps": [[2, 3]], "segments": segments},
                "E_8_9": {"event": 1, "timestamps": [[8, 9]], "segments": segments},
                "E_3_3": {"event": 1, "timestamps": [[3, 3.5]], "segments": None},
            },
            "p_A_E_re": {"E_1_2": {"event": 4, "timestamps": [[1, 1.32]], "segments": segments}},
            "gone": {"E_1_2": {"event": 4, "timestamps": [[1, 2]], "segments": segments}},
        },
    )
    train = ["-rec_E_1_2_A_0000_0001 7", "-rec_E_2_3_A_0000_0001 8", "p_A_E_re_E_1_2_A_0000_0001 9"]
    train += ["gone_E_1_2_A_0000_0001 7", "gone_E_1_2_A_0001_0002 7", "-rec_E_5_6_A_0_1 3"]
    val = ["-rec_E_1_2_A_0001_0002 0", "-rec_E_8_9_A_0002_0003 1", "p_A_E_re_E_1_2_A_0001_0002 4"]
    corner.put("gym99_train_element_v1.1.txt", "\n".join(train))
    corner.put("gym99_val_element.txt", "\n".join(val))


def test_finegym(corner: Corner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marey.datasets.making._CHUNK", 10)
    finegym(corner)
    done, rows = corner.prepare("finegym")
    assert {name: (e.action, e.frames, e.extra["elements"]) for name, e in rows.items()} == {
        "train/-rec_E_1_2": ("floor_exercise", 25, "5-10:7"),
        "val/-rec_E_1_2": ("floor_exercise", 25, "15-20:0"),
        "train/-rec_E_2_3": ("vault", 25, "5-10:8"),
        "train/p_A_E_re_E_1_2": ("uneven_bars", 8, "5-7:9"),
        "val/p_A_E_re_E_1_2": ("uneven_bars", 8, ""),
    }
    frames = read(rows["train/-rec_E_2_3"].path)
    assert frames.pixels.shape == (25, 360, 640, 3)
    assert np.abs(frames.pixels[1:-2].astype(int) - 120).max() <= 4
    assert told(done.missing) == ["gone"]
    assert told(done.corrupt) == ["-rec_E_8_9"]
    assert told(done.unexpected) == ["-rec_E_5_6", "spare.mp4"]
    again, rows_again = corner.prepare("finegym")
    assert (again, rows_again) == (done, rows)
    for name in ("annotations/finegym_annotation_info_v1.1.json", "gym99_train_element_v1.1.txt"):
        (corner.root / name).rename(corner.root / name.replace("v1.1", "v1.0"))
    assert corner.prepare("finegym")[1] == rows


def test_carl_release(corner: Corner) -> None:
    corner.video("videos/0001_bowl.mp4", "videos/0002_bowl.mp4", "videos/other.mp4")

    def record(name: str, **more: Any) -> dict[str, Any]:
        common = {"id": 0, "name": name, "video_file": f"videos/{name}.mp4", "seq_len": FRAMES}
        return {**common, "frame_label": torch.tensor(PHASES), **more}

    train = [record("0001_bowl"), record("0003_bowl")]
    corner.put("train.pkl", pickle.dumps((train, [[0]])))
    corner.put("val.pkl", pickle.dumps([record("0002_bowl"), record("other")]))
    done, rows = corner.prepare("carl")
    assert short(rows) == {
        "train/0001_bowl": ("bowl", (3, 5)),
        "val/0002_bowl": ("bowl", (3, 5)),
        "val/other": ("", (3, 5)),
    }
    assert told(done.missing) == ["0003_bowl"]
    (corner.root / "val.pkl").unlink()
    assert told(corner.prepare("carl")[0].missing) == ["val", "0003_bowl"]


def test_carl_release_of_finegym_shares_videos(corner: Corner) -> None:
    corner.video("processed_videos/a_E_1_2.mp4")
    record = {"name": "a_E_1_2", "video_file": "processed_videos/a_E_1_2.mp4", "event_label": 3}
    for name, number in (("gym99_train_v1.0", 5), ("gym99_val", 6), ("gym288_val", 7)):
        numbers = -torch.ones(FRAMES)
        numbers[2:4] = number
        corner.put(f"{name}.pkl", pickle.dumps([{**record, "frame_label": numbers}] * 2))
    done, rows = corner.prepare("carl")
    assert {name: (e.action, e.extra["elements"]) for name, e in rows.items()} == {
        "train/a_E_1_2": ("balance_beam", "2-3:5"),
        "val/a_E_1_2": ("balance_beam", "2-3:6"),
    }
    assert len(done.unexpected) == 2  # each is listed twice
    _, rows = corner.prepare("carl", classes=288)
    assert [e.extra["elements"] for e in rows.values()] == ["2-3:7"]


def test_a_hostile_list_is_one_sentence(corner: Corner, tmp_path: Path) -> None:
    corner.video("videos/a.mp4")
    corner.put("train.pkl", pickle.dumps([{"name": Call(tmp_path / "made")}]))
    with pytest.raises(ManifestError, match=r"train\.pkl .*mkdir.*nothing in it was executed"):
        corner.prepare("carl")
    assert not (tmp_path / "made").exists()
    corner.put("train.pkl", pickle.dumps([{"name": "a"}]))
    with pytest.raises(ManifestError, match=r"train\.pkl is not a list of CARL's release"):
        corner.prepare("carl")
