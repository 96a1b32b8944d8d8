"""The tables of a study's data set, made once from the form in which it is distributed."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

from marey.datasets import prepare
from marey.datasets.listing import Tree
from marey.errors import ManifestError
from marey.files import write_json
from marey.manifest import Entry, Manifest
from marey.reproduction.studies import Study

Tables = dict[str, Manifest]
"""By their names in the study."""

READY = "ready.json"
"""Beside the tables, when all are there."""


def make_tables(study: Study, data: Path, folder: Path, show: bool) -> None:
    """Makes the tables of the data set where they are not there yet."""
    if (folder / READY).is_file():
        return
    if not data.is_dir():
        raise ManifestError(f"{data} is not a folder; name the one that the data set is in.")
    tree = Tree(data, folder)
    signed = [
        one for one in study.layouts if one.sign and tree.files(re.compile(one.sign).fullmatch)
    ]
    layout = signed[0] if signed else study.layouts[0]  # whose reader says what is not there
    labels = {"labels": data} if layout.events else {}
    made: dict[str, str] = {}
    for name, options in study.tables.items():
        sign = study.optional.get(name)
        if sign and not tree.files(re.compile(sign).fullmatch):
            made[name] = ""
            continue
        path = folder / f"{name}.csv"
        done = prepare(layout.reader, data, path, show=show, **options, **labels)
        counts = [f"{count} {split}" for split, count in done.counts.items()]
        lacks = [name for name, _ in done.missing]
        named = f" ({', '.join(lacks)})" if 0 < len(lacks) <= 3 else ""
        counts += [f"{len(lacks)} missing{named}", f"{len(done.corrupt)} corrupt"]
        made[name] = ", ".join(counts)
    write_json(folder / READY, made)


def read_tables(study: Study, folder: Path) -> tuple[Tables, str]:
    """The tables, and how many videos they have; waits until another process has made them."""
    while not (folder / READY).is_file():
        time.sleep(1)  # torchrun ends all processes where the one that prepares fails
    made = json.loads((folder / READY).read_text(encoding="utf-8"))
    tables = {name: Manifest.read(folder / f"{name}.csv") for name in made if made[name]}
    if study.large:  # test lists may have labels too
        tables = {
            name: Manifest(tuple(e for e in table if e.split in ("train", "val")))
            for name, table in tables.items()
        }
    told = [f"{name}: {counts or 'its lists are not there'}" for name, counts in made.items()]
    return tables, "; ".join(told)


def learned(study: Study, tables: Tables) -> Manifest:
    """The videos that the network is trained on, where those that are scored are labelled."""
    table = next(iter(tables.values()))
    if study.kind == "phases":
        table = Manifest(tuple(entry for entry in table if entry.boundaries is not None))
    if {entry.split == "train" for entry in table} != {True, False}:
        raise ManifestError(
            f"{study.title} needs labelled videos of the split `train` and of another one, and "
            f"there are {len(table)} labelled videos in all; name a folder with both."
        )
    return table.select(split="train")


def merged(tables: Tables) -> Manifest:
    """All videos once, with a column for each table that says what they are in it."""
    entries: dict[Path, Entry] = {}
    for name, table in tables.items():
        for entry in table:
            known = entries.get(entry.path, replace(entry, split=""))
            entries[entry.path] = replace(known, extra={**known.extra, name: entry.split})
    return Manifest(tuple(entries.values()))
