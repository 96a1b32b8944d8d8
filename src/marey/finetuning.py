"""Fine-tuning: what a run of clips learned without labels, as a start for naming actions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from marey import checkpoint
from marey.augment import Crop
from marey.config import ClassifierConfig, ClipMethodConfig, OptimizerConfig, Recipe
from marey.data import Corpus, LeftOut, decode_size, look, survey
from marey.embedding import Model, see
from marey.errors import CheckpointError, ConfigError, ManifestError, VideoError
from marey.evaluation.clip_metrics import chance
from marey.manifest import Entry, Manifest
from marey.methods.classifier import Classifier
from marey.progress import bar
from marey.training import train
from marey.units import one_after_another

CLIPS = 10
CROPS: Sequence[Crop] = ("first", "centre", "last")


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned run and how well it names the actions of videos that it was not trained on.

    run: its folder.  steps, loss: of its training.
    accuracy: share of the scored videos that are named right.  chance: the same of always saying
        the most frequent action of the training videos.  videos: how many are scored.
    """

    run: Path
    steps: int
    loss: float
    accuracy: float
    chance: float
    videos: int
    left_out: tuple[LeftOut, ...]
    seconds: float


def finetune(
    run: str | Path,
    labels: str | Path | Manifest,
    out: str | Path,
    *,
    epochs: int = 150,
    lr: float = 0.01,
    device_name: str = "auto",
    show: bool = False,
) -> Finetuned:
    """Trains a clip network and a linear classifier on labelled videos, and scores both.

    The whole network of the run is trained, from what it learned, on the actions of the split
    "train"; every other split is scored as usual: 10 clips that lie evenly over the video, of each
    three squares (the ends and the middle of the long side), mean of their softmax. Augmentation
    and videos per step are the run's; SGD with momentum 0.9 and weight decay 1e-4, the learning
    rate falls along a cosine. `out` is a run folder like any other, resumed by the same call.

    Args:
        run: the run folder of a method that embeds clips, or one fine-tuned before.
        labels: a table with `path`, `action` and `split`; videos without an action are not used.
        epochs: passes over the videos, as MCL was published with.
        lr: the same; a step's 64 videos there are this run's here.
        device_name: "auto", "cpu", "cuda" or "mps".

    Raises ManifestError where there is nothing to learn or to score, CheckpointError for a run
    without a checkpoint, ConfigError for one that embeds frames or for settings other than those
    that `out` was started with, and what `marey.train` raises.
    """
    started, run, out = time.monotonic(), Path(run), Path(out)
    recipe = checkpoint.read_recipe(run)
    manifest = labels if isinstance(labels, Manifest) else Manifest.read(Path(labels))
    labelled = [entry for entry in manifest if entry.action]
    learned = Manifest(tuple(entry for entry in labelled if entry.split == "train"))
    asked = Manifest(tuple(entry for entry in labelled if entry.split != "train"))
    if len(learned.actions()) < 2 or not len(asked):
        raise ManifestError(
            "The table must hold videos of at least two actions in the split `train`, and others "
            f"to score; it has {len(labelled)} videos with an action, {len(learned)} of `train`."
        )
    known = survey(learned, show)
    weights = checkpoint.weights_file(run)
    trained = train(
        learned,
        out,
        _recipe(recipe, weights, known.actions, epochs, lr, run),
        device_name=device_name,
        show=show,
    )
    corpus = survey(asked, show)
    answers, left_out = _answers(Model(out, device_name), corpus, show)
    truth = [entry.action for entry, _ in answers]
    return Finetuned(
        run=out,
        steps=trained.steps,
        loss=trained.loss,
        accuracy=sum(entry.action == answer for entry, answer in answers) / len(answers),
        chance=chance([entry.action for entry in known.entries], truth)["linear"],
        videos=len(answers),
        left_out=(*trained.left_out, *left_out),
        seconds=time.monotonic() - started,
    )


def _recipe(
    given: Recipe, weights: Path, actions: Sequence[str], epochs: int, lr: float, run: Path
) -> Recipe:
    """The run's recipe, turned into that of a classifier which starts from its weights."""
    base = given.method.base if isinstance(given.method, ClassifierConfig) else given.method
    if not isinstance(base, ClipMethodConfig):
        raise ConfigError(f"{run} embeds frames, not clips, and cannot learn to name actions.")
    if not weights.is_file():
        raise CheckpointError(f"{run} has not reached its first checkpoint; train it first.")
    return replace(
        given,
        method=ClassifierConfig(base=base, actions=tuple(actions)),
        encoder=replace(given.encoder, weights=str(weights.resolve())),
        optimizer=OptimizerConfig(name="sgd", lr=lr, momentum=0.9, weight_decay=1e-4, clip=40),
        data=replace(given.data, epochs=epochs, shortest=1, together=1),
    )


def _answers(
    model: Model, corpus: Corpus, show: bool
) -> tuple[list[tuple[Entry, str]], list[LeftOut]]:
    """The videos that can be read, each with the action that the network takes it for."""
    method = model.method
    assert isinstance(method, Classifier)
    size, left_out = method.recipe.encoder.size, list(corpus.left_out)
    answers: list[tuple[Entry, str]] = []

    def shares(pixels: Tensor) -> Tensor:
        return method.scores(method.features(pixels)).softmax(1)

    method.expect(len(corpus) * CLIPS * len(CROPS))
    with bar("Naming actions", len(corpus), show) as advance:
        for entry, info in zip(corpus.entries, corpus.infos, strict=True):
            units = method.units(method.recipe, info.frames, CLIPS)
            try:
                (clips,) = look(info, [units], decode_size(size))
                frames, places = clips.flatten(0, 1), one_after_another(*clips.shape[:2])
                votes = [see(shares, frames, places, size, crop, model.device) for crop in CROPS]
                answers.append((entry, method.actions[int(torch.cat(votes).mean(0).argmax())]))
            except VideoError as error:
                left_out.append((entry.name, str(error)))
            advance(note=entry.name)
    if not answers:
        raise ManifestError(f"None of the {len(corpus)} videos can be read; {left_out[0][1]}")
    return answers, left_out
