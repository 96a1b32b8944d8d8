"""Public data sets in their own layouts, small: what is read, and what is told to be wrong."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corner import Corner, pixels, short, told
from marey.cli import main
from marey.datasets import DATASETS, prepare
from marey.errors import ConfigError, ManifestError
from marey.video import write


@pytest.fixture
def corner(tmp_path: Path) -> Corner:
    return Corner(tmp_path / "root")


def test_ucf101(corner: Corner) -> None:
    videos = ["Bowling/v_Bowling_g01_c01", "Bowling/v_Bowling_g02_c01", "Biking/v_Biking_g01_c01"]
    corner.video(*(f"UCF-101/{name}.avi" for name in videos), "UCF-101/Bowling/v_extra.avi")
    corner.broken("UCF-101/Biking/v_Biking_g09_c01.avi")
    train = [f"{videos[0]}.avi 1", "Biking/v_Biking_g09_c01.avi 2", "Biking/v_gone_g01_c01.avi 2"]
    corner.put("ucfTrainTestlist/trainlist02.txt", "\r\n".join(train))
    corner.put("ucfTrainTestlist/testlist02.txt", "\n".join(f"{v}.avi" for v in videos[1:]))
    done, rows = corner.prepare("ucf101", split=2)
    assert short(rows) == {
        "train/v_Bowling_g01_c01": ("Bowling", None),
        "test/v_Bowling_g02_c01": ("Bowling", None),
        "test/v_Biking_g01_c01": ("Biking", None),
    }
    assert done.counts == {"test": 2, "train": 1}
    assert told(done.missing) == ["v_gone_g01_c01"]
    assert told(done.corrupt) == ["UCF-101/Biking/v_Biking_g09_c01.avi"]
    assert told(done.unexpected) == ["UCF-101/Bowling/v_extra.avi"]


def test_hmdb51(corner: Corner) -> None:
    names = [f"a (1)_b_{i}.avi" for i in range(4)]
    corner.video(*(f"hmdb51_org/brush_hair/{name}" for name in names), "hmdb51_org/wave/x.avi")
    uses = [f"{name} {use} " for name, use in zip(names, (1, 2, 0, 1), strict=True)]
    corner.put("splits/brush_hair_test_split3.txt", "\n".join(uses))
    corner.put("splits/brush_hair_test_split1.txt", "never read")
    done, rows = corner.prepare("hmdb51", split=3)
    assert short(rows) == {
        f"{split}/a (1)_b_{i}": ("brush_hair", None)
        for i, split in ((0, "train"), (1, "test"), (3, "train"))
    }
    assert told(done.unexpected) == ["hmdb51_org/wave/x.avi"]


def test_kinetics(corner: Corner) -> None:
    corner.video(
        "train/air drumming/-a_000003_000013.mp4", "val/b_001000_001010.mp4", "val/c_1_2.mp4"
    )
    head = "label,youtube_id,time_start,time_end,split,is_cc\n"
    corner.put("k400/train.csv", f'{head}"air drumming",-a,3,13,train,0\nsailing,gone,1,11,train,0')
    corner.put("k400/validate.csv", f"{head}sailing,b,1000,1010,validate,0\n")
    corner.put("other.csv", "name,path\nx,y\n")
    done, rows = corner.prepare("kinetics400")
    assert short(rows) == {
        "train/-a_000003_000013": ("air drumming", None),
        "val/b_001000_001010": ("sailing", None),
    }
    assert told(done.missing) == ["gone_000001_000011"]
    assert told(done.unexpected) == ["val/c_1_2.mp4"]


def test_something_something(corner: Corner) -> None:
    prefix = "something-something-v2-"
    corner.video(*(f"20bn/{i}.webm" for i in range(4)))
    corner.json(f"{prefix}labels.json", {"Holding something": "0"})
    corner.json(f"{prefix}train.json", [{"id": "0", "template": "Holding [something]"}])
    corner.json(
        f"{prefix}validation.json",
        [{"id": "1", "template": "Eating [something]"}, {"id": "9", "template": "x"}],
    )
    corner.json(f"{prefix}test.json", [{"id": "2"}])
    done, rows = corner.prepare("something_something")
    assert short(rows) == {
        "train/0": ("Holding something", None),
        "val/1": ("Eating something", None),
        "test/2": ("", None),
    }
    assert told(done.missing) == ["9"]
    assert told(done.unexpected) == ["1", "9", "20bn/3.webm"]


def test_diving48(corner: Corner) -> None:
    corner.video("rgb/_a_00000.mp4", "rgb/b_00001.mp4")
    corner.json(
        "Diving48_vocab.json", [["Back", "15som", "NoTwis", "PIKE"], ["Inward", "", "", ""]]
    )
    corner.json("Diving48_V2_train.json", [{"vid_name": "_a_00000", "label": 0, "end_frame": 9}])
    corner.json("Diving48_V2_test.json", [{"vid_name": "b_00001", "label": 1, "end_frame": 9}])
    done, rows = corner.prepare("diving48")
    assert rows["train/_a_00000"].action == "Back 15som NoTwis PIKE"
    assert done.counts == {"test": 1, "train": 1}
    corner.json("Diving48_V2_test.json", [{"vid_name": "b_00001", "label": 2}])
    with pytest.raises(ManifestError, match=r"Diving48_V2_test\.json is not a list of Diving48"):
        corner.prepare("diving48")


def swing(number: int, fold: int, events: list[int]) -> tuple[Any, ...]:
    box = np.array([[0.1, 0.2, 0.3, 0.4]])
    row = (number, f"id{number}", "A PLAYER", "f", "driver", "face-on", 0)
    return (*row, np.array([events]), box, fold)


def test_golfdb(corner: Corner) -> None:
    names = ["id", "youtube_id", "player", "sex", "club", "view", "slow", "events", "bbox", "split"]
    swings = [
        swing(7, 2, [100, 101, 102, 103, 104, 105, 106, 106, 106, 107]),
        swing(0, 1, [50, 52, 54, 56, 58, 60, 62, 64, 66, 67]),
        swing(3, 4, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ]
    table = np.array(swings, [(name, object) for name in names])[None]
    corner.mat("golfDB.mat", {"golfDB": table})
    corner.put("videos_160/readme.txt", "")
    corner.video("videos_160/7.mp4")
    write(corner.root / "videos_160/0.mp4", pixels(18), 30)
    done, rows = corner.prepare("golfdb", split=2)
    assert short(rows) == {
        "train/0": ("golf_swing", (2, 4, 6, 8, 10, 12, 14, 16)),
        "val/7": ("golf_swing", None),  # three events at once make no phases
    }
    assert rows["val/7"].extra["player"] == "A PLAYER"
    assert rows["train/0"].extra["fold"] == "1"
    assert told(done.missing) == ["3"]
    assert told(done.unexpected) == ["videos_160/7.mp4"]
    corner.put("golfDB.mat", b"no matlab file")
    with pytest.raises(ManifestError, match=r"golfDB\.mat is not a MATLAB file"):
        corner.prepare("golfdb")


LOOKED_FOR = {
    "carl": "train.pkl",
    "diving48": "Diving48_vocab.json",
    "finegym": "finegym_annotation_info_v1.1.json",
    "golfdb": "golfDB.mat",
    "hmdb51": "ACTION_test_split1.txt",
    "kinetics400": "youtube_id",
    "penn_action": "folder frames",
    "pouring": "pouring_train",
    "something_something": "something-something-v2-labels.json",
    "ucf101": "trainlist01.txt",
}


@pytest.mark.parametrize("name", DATASETS)
def test_a_wrong_folder_is_one_sentence(name: str, corner: Corner) -> None:
    corner.video("some/video.mp4")
    corner.put("some/table.csv", "a,b\n1,2\n")
    with pytest.raises(ManifestError, match=re.escape(LOOKED_FOR[name])) as caught:
        corner.prepare(name)
    assert str(corner.root) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not corner.out.exists()
    with pytest.raises(ManifestError, match="not a folder"):
        prepare(name, corner.root / "nowhere", corner.out)


def test_nothing_that_can_be_used(corner: Corner) -> None:
    corner.broken("Bowling/v_a.avi")
    corner.put("trainlist01.txt", "Bowling/v_a.avi 1\n")
    corner.put("testlist01.txt", "")
    with pytest.raises(ManifestError, match=r"no video of the set can be used.*v_a\.avi"):
        corner.prepare("ucf101")
    assert not corner.out.exists()


def test_what_does_not_exist(corner: Corner) -> None:
    with pytest.raises(ConfigError, match="no data set 'imagenet'; there are carl, diving48"):
        prepare("imagenet", corner.root, corner.out)
    with pytest.raises(ConfigError, match="ucf101 has no option labels; it has split"):
        prepare("ucf101", corner.root, corner.out, labels="x")
    with pytest.raises(ConfigError, match="diving48 has no option split; it has none"):
        prepare("diving48", corner.root, corner.out, split=1)
    with pytest.raises(ManifestError, match="no table's name"):
        prepare("ucf101", corner.root, corner.out.with_suffix(".txt"))
    for name, options in (
        ("ucf101", {"split": 4}),
        ("hmdb51", {"split": 0}),
        ("golfdb", {"split": 5}),
        ("finegym", {"classes": 100}),
    ):
        with pytest.raises(ConfigError, match=str(*options.values())):
            prepare(name, corner.root, corner.out, **options)


def test_on_the_command_line(corner: Corner, capsys: pytest.CaptureFixture[str]) -> None:
    corner.video("a/Bowling/v_a.avi", "a/Bowling/v_b.avi")
    corner.broken("a/Bowling/v_c.avi")
    corner.put("trainlist03.txt", "Bowling/v_a.avi 1\nBowling/v_c.avi 1\nBowling/v_d.avi 1\n")
    corner.put("testlist03.txt", "")
    main(["prepare", "ucf101", str(corner.root), "--out", str(corner.out), "--split", "3"])
    said = capsys.readouterr()
    assert said.out == f"{corner.out}: 1 train\n"
    for part in ("1 missing:\n  v_d: ", "1 corrupt:\n  a/Bowling/v_c.avi: ", "1 unexpected:\n  a/"):
        assert part in said.err
    with (corner.out.parent / "set_report.csv").open(newline="") as file:
        report = [(row["kind"], row["name"]) for row in csv.DictReader(file)]
    assert report == [
        ("missing", "v_d"),
        ("corrupt", "a/Bowling/v_c.avi"),
        ("unexpected", "a/Bowling/v_b.avi"),
    ]
    corner.video(*(f"spare/{i}.mp4" for i in range(30)))
    main(["prepare", "ucf101", str(corner.root), "--out", str(corner.out), "--split", "3"])
    said = capsys.readouterr()
    assert "31 unexpected:\n" in said.err
    assert f"  ... and 11 more, all in {corner.out.parent / 'set_report.csv'}" in said.err
    assert said.err.count("no list of the set names it") == 20
    with pytest.raises(SystemExit) as caught:
        main(["prepare", "hmdb51", str(corner.root), "--out", str(corner.out)])
    assert caught.value.code == 1
    assert "holds no ACTION_test_split1.txt" in capsys.readouterr().err
