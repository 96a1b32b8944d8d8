"""One loop for all methods: a folder of videos and a recipe become a run folder."""

from __future__ import annotations

import json
import math
import platform
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from marey import checkpoint, device, distributed
from marey.batches import pixel_batches
from marey.cache import FeatureCache
from marey.config import OptimizerConfig, Recipe
from marey.data import Corpus, LeftOut, Stores, survey
from marey.errors import ConfigError, TrainingError
from marey.files import storing
from marey.manifest import Manifest
from marey.methods import build
from marey.methods.base import Method
from marey.progress import bar, console
from marey.recipes import DEFAULT, named
from marey.types import Batch, StepOutput

LOG_EVERY = 10  # steps between two lines of log.jsonl


@dataclass(frozen=True)
class Trained:
    """What a training leaves: the run folder, its steps, the last loss, the videos left out."""

    run: Path
    steps: int
    loss: float
    left_out: tuple[LeftOut, ...]
    seconds: float


def train(
    videos: str | Path | Sequence[str | Path] | Manifest,
    out: str | Path,
    recipe: Recipe | str = DEFAULT,
    *,
    cache: str | Path | None = None,
    device_name: str = "auto",
    tensorboard: bool = False,
    save_minutes: float = 5.0,
    show: bool = False,
) -> Trained:
    """Trains a method on unlabelled videos.

    A run folder that holds a checkpoint of the same settings is resumed exactly: what a step sees,
    and its dropout, are functions of the seed and the step. Ctrl-C stops after the current step,
    keeps it, and raises KeyboardInterrupt.

    Args:
        videos: a folder, a table, or a list of files (see `marey.manifest.Manifest`). Methods that
            compare videos of one action take it from a table, or from one folder per action.
        out: the run folder.
        recipe: settings, or the name of a recipe (`marey.recipes.RECIPES`). Of 0 steps it leaves
            the network as it was before training.
        cache: folder for what is computed of the videos once, which several runs may share: the
            features of a frozen backbone, or motion; by default `cache` in the run folder.
        device_name: "auto", "cpu", "cuda" or "mps".
        tensorboard: also write TensorBoard events; needs the extra `tensorboard`.
        save_minutes: time between checkpoints.
        show: progress bars on standard error.

    Raises ManifestError where no video can be read, ConfigError for settings that cannot work,
    TrainingError where the loss is no longer finite, StorageError where the disk is full.
    """
    started, out = time.monotonic(), Path(out)
    recipe = named(recipe)
    where = device.pick(device_name)
    precision = device.precision(where, recipe.precision)
    manifest = videos if isinstance(videos, Manifest) else Manifest.of(videos)
    with distributed.group(where) as rank:
        show = show and rank.first
        corpus = survey(manifest, show, recipe.data.shortest)
        if show and recipe.data.together > 1:
            console.print(corpus.comparison, markup=False, highlight=False, soft_wrap=True)
        total = _steps(recipe, corpus, rank.world)
        method = build(recipe).to(where)
        if recipe.data.copies and not method.cacheable:
            raise ConfigError(
                "This recipe trains its backbone, so that features cannot be stored; give "
                "--data.copies 0."
            )
        optimizer = _optimizer(method, recipe.optimizer)
        _open_run(out, recipe, corpus, where, rank)
        state = checkpoint.resume(out, method, optimizer) or {"step": 0, "loss": math.nan}

        left_out = list(corpus.left_out)
        steps = range(state["step"], total)
        parts = recipe.data.accumulate
        looks = range(steps.start * parts, total * parts)
        kept = Path(cache or out / "cache")
        if recipe.data.copies and steps:
            stored = FeatureCache(kept, recipe, corpus, method.width)
            stored.fill(method.eval(), where, rank, show)
            left_out += stored.left_out()
            batches = stored.batches(looks, rank, where, total * parts)
        else:
            stores = Stores.of(recipe, kept)
            batches = pixel_batches(
                recipe, corpus, stores, looks, rank, where, precision, total * parts
            )

        log = _Log(out, rank.first, tensorboard, state["step"])
        wrapped = distributed.wrap(method.train(), rank, where)
        saved = time.monotonic()
        with _interruptible() as stopping, bar("Training", total, show) as advance, log:
            advance(state["step"])
            for step in steps:
                lr = _learning_rate(recipe.optimizer, step, total)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                optimizer.zero_grad(set_to_none=True)
                loss, terms = 0.0, dict[str, Tensor]()
                for part, (batch, broken) in enumerate(islice(batches, parts)):
                    left_out += [one for one in broken if one not in left_out]
                    if batch is None:
                        raise TrainingError(_nothing_left(left_out))
                    # not before the batch is there: a loader that starts draws numbers of its own
                    torch.manual_seed(_step_seed(recipe, step * parts + part, rank))
                    with torch.autocast(where.type, precision, enabled=precision != torch.float32):
                        output: StepOutput = wrapped(batch)
                    loss += _finite(output.loss, step, batch, out) / parts
                    terms = dict(output.terms)
                    (output.loss / parts).backward()
                norm = torch.nn.utils.clip_grad_norm_(
                    method.parameters(), recipe.optimizer.clip or math.inf
                )
                optimizer.step()
                method.after_step()

                state = {"step": step + 1, "loss": loss}
                log.add(step, loss, lr, float(norm), terms)
                advance(note=f"loss {loss:.3f}")
                if rank.first and time.monotonic() - saved > 60 * save_minutes:
                    checkpoint.save(out, method, optimizer, state)
                    saved = time.monotonic()
                if stopping:
                    break
        if rank.first and (steps or not total):
            checkpoint.save(out, method, optimizer, state)
        if stopping:
            raise KeyboardInterrupt  # what comes after a training must not use half of one
        distributed.barrier()
    return Trained(out, state["step"], state["loss"], tuple(left_out), time.monotonic() - started)


def _steps(recipe: Recipe, corpus: Corpus, world: int) -> int:
    data = recipe.data
    if data.epochs:
        per_step = data.videos * data.accumulate * world
        return max(1, math.ceil(data.epochs * len(corpus) / per_step))
    return data.steps


def _step_seed(recipe: Recipe, step: int, rank: distributed.Rank) -> int:
    """Dropout is a function of seed, step and rank, so that no random state need be stored."""
    return (recipe.seed * 1_000_003 + step) * rank.world + rank.rank


def _optimizer(method: Method, config: OptimizerConfig) -> torch.optim.Optimizer:
    weights = [p for p in method.parameters() if p.requires_grad]
    if config.name == "sgd":
        return torch.optim.SGD(
            weights, config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(weights, config.lr, weight_decay=config.weight_decay)


def _learning_rate(config: OptimizerConfig, step: int, total: int) -> float:
    """Linear warm-up, then a cosine to 0."""
    warm = round(config.warmup * total)
    if step < warm:
        return config.lr * (step + 1) / warm
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def _open_run(
    out: Path, recipe: Recipe, corpus: Corpus, where: torch.device, rank: distributed.Rank
) -> None:
    """Starts the run folder, or makes sure that the one found was started with this recipe."""
    if rank.first and not (out / "run.json").exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ConfigError(f"{out} exists and is not a run folder; give another --out.")
        facts = {
            "videos": len(corpus),
            "frames": corpus.frames,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "device": str(where),
            "processes": rank.world,
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
        checkpoint.write_run(out, recipe, facts)
    distributed.barrier()
    if checkpoint.read_recipe(out) != recipe:
        raise ConfigError(
            f"{out} holds a run with other settings; give another --out, or delete it."
        )


def _finite(loss: Tensor, step: int, batch: Batch, out: Path) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingError(
            f"The loss became {value} at step {step} (videos {', '.join(batch.videos)}); lower "
            f"--optimizer.lr or give --precision fp32; {out} keeps its checkpoint."
        )
    return value


def _nothing_left(left_out: list[LeftOut]) -> str:
    name, reason = left_out[-1] if left_out else ("?", "no video")
    return f"None of the videos of a step can be decoded; the last, {name}: {reason}"


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Collects the first SIGINT or SIGTERM, so that the step under way is finished and kept."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # signals belong to the main thread, whose business this is then
        return

    def receive(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    old = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class _Log:
    """Appends to log.jsonl, and to TensorBoard if asked; lines of undone steps are dropped."""

    def __init__(self, out: Path, first: bool, tensorboard: bool, step: int) -> None:
        self.first, self.path, self.board = first, out / "log.jsonl", None
        self.started = time.monotonic()
        if not first:
            return
        kept = [line for line in read_log(out) if line["step"] < step]
        with storing(self.path):
            self.path.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ModuleNotFoundError as error:
                raise ConfigError(
                    "TensorBoard is not installed; `pip install marey[tensorboard]`."
                ) from error
            self.board = SummaryWriter(str(out))

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        if self.board is not None:
            self.board.close()

    def add(self, step: int, loss: float, lr: float, norm: float, of: Mapping[str, Tensor]) -> None:
        if not self.first or step % LOG_EVERY:
            return
        terms = {name: round(float(value), 6) for name, value in of.items()}
        line: dict[str, Any] = {"step": step, "loss": round(loss, 6), "lr": lr}
        line |= {"gradient_norm": round(norm, 6), **terms}
        line["seconds"] = round(time.monotonic() - self.started, 2)
        with storing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.board is not None:
            for name, value in line.items():
                self.board.add_scalar(name, value, step)


def read_log(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's log.jsonl; a line that a crash cut short is dropped."""
    path = run / "log.jsonl"
    lines = []
    for text in path.read_text("utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
