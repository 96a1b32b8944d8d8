"""What was published, and by which protocol: the studies that `marey reproduce` repeats.

The figures are recalled from the papers, not read again, except that of FineGym99, which a later
paper quotes. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from marey.config import Recipe
from marey.errors import ConfigError
from marey.published_recipes import (
    carl_finegym,
    carl_penn,
    carl_pouring,
    mcl_kinetics,
    mcl_ucf101,
)


@dataclass(frozen=True)
class Figure:
    """A published row. values: by metric, in the paper's unit turned into shares, 0..1."""

    row: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Layout:
    """A form in which a data set is distributed.

    reader: the module of `marey.datasets` that reads it.
    sign: regular expression of the name of a file that tells it from the other forms.
    events: whether labels of frames lie somewhere in the same folder, and have to be looked for.
    """

    reader: str
    sign: str = ""
    events: bool = False


@dataclass(frozen=True)
class Study:
    """A table of a paper.

    title: of the table.  about: what has to be known to compare with it.
    recipe: the published training; None where the network is that of another study.
    layouts: of the data set; the first whose sign is there, else the first.
    tables: of the data set, by name, with the options of `marey.datasets.prepare`; the network is
        trained on the videos "train" of the first.
    optional: names of tables that are left out where the files that match this name are not there.
    kind: which protocol: "phases" of frames, "elements" of frames, or "clips".
    stride: every how many frames are compared for Kendall's tau and AP@K.
    large: whether only a linear layer is asked of clips, for more is too much.
    tunes: whether the network is fine-tuned as well.
    figures: the published rows.  start: the weights that the paper starts from.
    """

    title: str
    about: str
    layouts: tuple[Layout, ...]
    kind: Literal["phases", "elements", "clips"]
    figures: tuple[Figure, ...]
    recipe: Callable[[], Recipe] | None = None
    start: str = ""
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"all": {}})
    optional: Mapping[str, str] = field(default_factory=dict)
    stride: int = 2
    large: bool = False
    tunes: bool = False


def _percent(**values: float) -> dict[str, float]:
    return {name: round(value / 100, 6) for name, value in values.items()}


_SPLITS = {f"split{number}": {"split": number} for number in (1, 2, 3)}

BYOL = "a ResNet-50 of BYOL, trained on ImageNet without labels"
MOCO = "a ResNet-50 of MoCo v2, trained on ImageNet without labels"

STUDIES: dict[str, Study] = {
    "carl-penn": Study(
        title="CARL on Penn Action",
        about="One joint model for all actions, on both sides; metrics per action, then averaged.",
        recipe=carl_penn,
        start=BYOL,
        layouts=(Layout("penn_action", r"\d{4}\.mat", events=True), Layout("carl", r"train\.pkl")),
        kind="phases",
        figures=(
            Figure(
                "CARL, joint",
                _percent(classification_100=93.07, ap5=92.28, ap10=92.10, ap15=91.82)
                | {"progression": 0.918, "tau": 0.985},
            ),
            Figure(
                "TCC, joint",
                _percent(classification_100=74.39) | {"progression": 0.591, "tau": 0.641},
            ),
            Figure(
                "LAV, joint",
                _percent(classification_100=78.68) | {"progression": 0.625, "tau": 0.684},
            ),
            Figure(
                "TCN, joint",
                _percent(classification_100=68.09) | {"progression": 0.383, "tau": 0.542},
            ),
            Figure(
                "SaL, joint",
                _percent(classification_100=68.15) | {"progression": 0.390, "tau": 0.474},
            ),
        ),
    ),
    "carl-pouring": Study(
        title="CARL on Pouring",
        about="There is one action.",
        recipe=carl_pouring,
        start=BYOL,
        layouts=(Layout("pouring", r".*\.tfrecord.*"), Layout("carl", r"train\.pkl")),
        kind="phases",
        stride=5,
        figures=(
            Figure(
                "CARL",
                _percent(classification_100=93.73) | {"progression": 0.935, "tau": 0.992},
            ),
        ),
    ),
    "carl-finegym": Study(
        title="CARL on FineGym",
        about="A linear layer names the element of every labelled frame; the network was trained "
        "on the events of FineGym99. The row is what a later paper quotes; a public listing of "
        "benchmarks has 41.8 for CARL on FineGym, without saying by which protocol.",
        recipe=carl_finegym,
        start=BYOL,
        layouts=(
            Layout("finegym", r"finegym_annotation_info_v1\.[01]\.json"),
            Layout("carl", r"gym99_train.*\.pkl"),
        ),
        kind="elements",
        tables={"gym99": {"classes": 99}, "gym288": {"classes": 288}},
        optional={"gym288": r"gym288_train.*"},
        figures=(Figure("CARL (as a later paper quotes it)", _percent(gym99=60.4)),),
    ),
    "mcl-ucf101": Study(
        title="MCL on UCF101",
        about="Linear SVM on the mean of 20 clips; the network was trained on the training videos "
        "of split 1, without labels, so that it has seen most videos that splits 2 and 3 score. "
        "SVM is the mean over the splits; which splits the published figures are over is not "
        "recalled.",
        recipe=mcl_ucf101,
        start=MOCO,
        layouts=(Layout("ucf101"),),
        kind="clips",
        tables=_SPLITS,
        tunes=True,
        figures=(
            Figure("MCL, linear", _percent(svm=81.91)),
            Figure("ImageNet-supervised start, linear", _percent(svm=75.13)),
        ),
    ),
    "mcl-kinetics": Study(
        title="MCL on Kinetics-400",
        about="A linear layer on frozen features, the mean of 20 clips.",
        recipe=mcl_kinetics,
        start=MOCO,
        layouts=(Layout("kinetics400"),),
        kind="clips",
        large=True,
        figures=(Figure("MCL, linear", _percent(linear=66.62)),),
    ),
    "mcl-hmdb51": Study(
        title="MCL on HMDB51",
        about="Linear SVM on the mean of 20 clips. SVM is the mean over the splits. What was "
        "published is not recalled, so that no row of it stands here.",
        layouts=(Layout("hmdb51"),),
        kind="clips",
        tables=_SPLITS,
        tunes=True,
        figures=(),
    ),
}
"""Every study by its name on the command line."""


def find(name: str) -> Study:
    """The study of that name. Raises ConfigError for a name that is none."""
    if name not in STUDIES:
        raise ConfigError(f"There is no study {name!r}; there are {', '.join(STUDIES)}.")
    return STUDIES[name]
