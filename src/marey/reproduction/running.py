"""From a data set as it is distributed to a paper's table beside one's own, in one call."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch

from marey import __version__, checkpoint, distributed
from marey.config import Recipe, to_dict
from marey.data import LeftOut
from marey.embedding import Model
from marey.errors import CheckpointError, ConfigError
from marey.files import replacing, write_json
from marey.finetuning import finetune
from marey.manifest import Manifest
from marey.reproduction.preparation import learned, make_tables, read_tables
from marey.reproduction.scoring import keep, kept, measured_by, score
from marey.reproduction.settings import departures
from marey.reproduction.studies import Study, find
from marey.reproduction.tables import Measured, as_data, markdown, summarise
from marey.training import read_log, train

SOURCES = ("mcl-ucf101", "mcl-kinetics")
"""Studies whose networks others are scored with."""

STUDY = "study.json"
"""Notes in the folder of a study which one it is."""


@dataclass(frozen=True)
class Reproduced:
    """The paper's table beside one's own.

    path: of the table (.md); beside it lies the same as .json, and in the folder of each seed
        `scores-*.csv` with every action or fold.  markdown: its text; empty in all
    processes but the first.  left_out: videos that could not be used.
    """

    path: Path
    markdown: str
    left_out: tuple[LeftOut, ...]


def reproduce(
    study: str,
    data: str | Path,
    out: str | Path,
    *,
    seeds: Sequence[int] = (0,),
    weights: str | Path = "",
    recipe: Recipe | None = None,
    trained: str | Path | None = None,
    tuning_epochs: int = 150,
    device_name: str = "auto",
    show: bool = False,
) -> Reproduced:
    """Prepares a data set, trains and evaluates as published, and writes the paper's table.

    The same call goes on where it was stopped: what is prepared, trained or scored is kept in
    `out`; delete `out/data` to prepare anew. With torchrun all processes train, and the first one
    does the rest.

    Args:
        study: a name of `marey.reproduction.studies.STUDIES`.
        data: folder of the data set, as it is distributed.
        out: folder for the tables of the data set, one run for each seed, table.md and table.json.
        seeds: of the trainings; the table has mean and standard deviation over them.
        weights: of the network that it starts from: a file, an address with a checksum or a file on
            the hub (`marey.models.sources.locate`), or "random".
        recipe: instead of the published one; what differs is named in the table.
        trained: for `mcl-hmdb51`, the `out` of `mcl-ucf101` or `mcl-kinetics`, whose runs are used.
        tuning_epochs: of the fine-tuning, for studies that have it; 0 = none.
        device_name: "auto", "cpu", "cuda" or "mps".

    Raises ConfigError for settings that make no sense together, ManifestError where the data set is
    not there or has no labels, and what `marey.train` and the evaluations raise.
    """
    plan, data, out = find(study), Path(data), Path(out)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError("name at least one seed, and each of them once.")
    source = _source(study, plan, trained)
    recipe = _recipe(study, plan, recipe, weights)
    first = distributed.is_first()
    if first:
        _claim(out, study, source)
        make_tables(plan, data, out / "data", show)
    tables, counts = read_tables(plan, out / "data")
    videos = learned(plan, tables)
    folders = {seed: out / f"seed-{seed}" for seed in seeds}
    runs = {seed: (source or out) / f"seed-{seed}" / "run" for seed in seeds}
    left_out: list[LeftOut] = []
    for seed, run in runs.items():
        if recipe is not None:
            mine, cache = replace(recipe, seed=seed), out / "cache"
            done = train(videos, run, mine, cache=cache, device_name=device_name, show=show)
            _add(left_out, done.left_out)

    # before the scoring, which may last longer than processes wait for one another
    tuned = {seed: folder / f"tuned-{tuning_epochs}" for seed, folder in folders.items()}
    tunes = plan.tunes and tuning_epochs > 0
    for seed, run in runs.items():
        if tunes and not _results(tuned[seed]).is_file():
            table = next(iter(tables.values()))
            _add(left_out, _tune(run, table, tuned[seed], tuning_epochs, device_name, show))
    if not first:
        return Reproduced(out / "table.md", "", ())

    measured = []
    for seed, run in runs.items():
        path = folders[seed] / "scores.json"
        if not path.is_file():
            scores = score(plan, Model(run, device_name), tables, out, show)
            for name, one in scores.items():
                _add(left_out, one.left_out)
                one.write(folders[seed] / f"scores-{name or 'all'}.csv")
            keep(path, measured_by(plan, scores))
        measured.append(kept(path) + (kept(_results(tuned[seed])) if tunes else []))
    rows = summarise(measured)
    facts = {"videos": counts, **_facts(plan, recipe, runs, trained, tuning_epochs)}
    text = markdown(plan, facts, rows)
    with replacing(out / "table.md") as draft:
        draft.write_text(text, encoding="utf-8")
    content = {
        "study": study,
        "seeds": list(seeds),
        "facts": facts,
        "recipe": to_dict(checkpoint.read_recipe(runs[seeds[0]])),
        "rows": as_data(plan, rows),
    }
    write_json(out / "table.json", content)
    return Reproduced(out / "table.md", text, tuple(left_out))


def _source(name: str, study: Study, trained: str | Path | None) -> Path | None:
    """The folder with the runs of another study, for a study that trains none of its own."""
    if study.recipe is not None:
        if trained is not None:
            raise ConfigError(f"{name} trains its own network; leave out what was trained before.")
        return None
    if trained is None or _about(Path(trained)).get("study") not in SOURCES:
        raise ConfigError(
            f"{name} scores a network that was trained before; name the --out of "
            f"{' or '.join(SOURCES)} as --trained."
        )
    return Path(trained)


def _recipe(name: str, study: Study, recipe: Recipe | None, weights: str | Path) -> Recipe | None:
    """What is trained; None where nothing is."""
    if study.recipe is None:
        if recipe is not None or weights:
            raise ConfigError(f"{name} trains nothing, so that there is nothing to set.")
        return None
    if not weights:
        raise ConfigError(
            f"{name} starts from {study.start}; give its file as --weights, or --weights random."
        )
    recipe = recipe or study.recipe()
    start = str(weights)
    if start != "random" and "://" not in start:
        start = str(Path(weights).resolve())
        if not Path(start).is_file():  # told now, not when the data set is prepared
            raise CheckpointError(f"There is no weights file {weights}; check --weights.")
    return replace(recipe, encoder=replace(recipe.encoder, weights=start))


def _claim(out: Path, name: str, source: Path | None) -> None:
    """Notes in the folder which study it is of; another one's folder is refused."""
    content = {"study": name} | ({"trained": str(source.resolve())} if source else {})
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        write_json(out / STUDY, content)
    elif _about(out) != content:
        of = f"{name} with the networks of {source}" if source else name
        raise ConfigError(f"{out} exists and is not a folder of {of}; give another --out.")


def _about(folder: Path) -> dict[str, str]:
    """What the folder of a study notes of it; nothing where it is none."""
    try:
        return dict(json.loads((folder / STUDY).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _tune(
    run: Path, labels: Manifest, out: Path, epochs: int, device_name: str, show: bool
) -> tuple[LeftOut, ...]:
    """Fine-tunes the network of a run, and keeps what it reaches."""
    done = finetune(run, labels, out, epochs=epochs, device_name=device_name, show=show)
    if distributed.is_first():
        shares = {"chance": done.chance, "fine-tuned": done.accuracy}
        keep(_results(out), [Measured("tuned", n, {"accuracy": of}) for n, of in shares.items()])
    return done.left_out


def _results(tuned: Path) -> Path:
    return tuned.with_suffix(".json")


def _add(left_out: list[LeftOut], more: Sequence[LeftOut]) -> None:
    left_out += [one for one in more if one not in left_out]


def _facts(
    study: Study,
    recipe: Recipe | None,
    runs: dict[int, Path],
    trained: str | Path | None,
    tuning: int,
) -> dict[str, str]:
    """What has to stand beside the numbers."""
    facts: dict[str, str] = {}
    about = [checkpoint.read_run(run) for run in runs.values()]
    if trained is not None:
        facts["network"] = f"of {_about(Path(trained))['study']}, in {trained}"
    if recipe is not None and study.recipe is not None:
        weights = recipe.encoder.weights
        start = Path(weights).name if weights != "random" else "random weights"
        facts["start"] = f"{start} (published: {study.start})"
        changes = [
            f"{name} {ours} (published: {theirs})"
            for name, (ours, theirs) in departures(recipe, study.recipe()).items()
        ]
        facts["settings"] = ", ".join(changes) or "as published"
    if study.tunes:
        facts["fine-tuning"] = f"{tuning} epochs" if tuning else "left out"
    seeds = ", ".join(map(str, runs))
    facts["seeds"] = seeds if len(runs) == 1 else f"{seeds}; mean ± standard deviation"
    hours = [_hours(run) for run in runs.values()]
    where = dict.fromkeys(f"{one['processes']} x {one['device']}" for one in about)
    facts["training"] = f"{statistics.fmean(hours):.2f} hours a seed on {', '.join(where)}"
    chip = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor()
    facts["machine"] = f"{chip or platform.machine()}, torch {torch.__version__}"
    facts["marey"] = __version__
    return facts


def _hours(run: Path) -> float:
    """Hours of training by its log, over all its resumptions."""
    seconds = [line["seconds"] for line in read_log(run)]
    ends = [now for now, then in pairwise([*seconds, 0.0]) if then <= now]
    return float(sum(ends)) / 3600
