"""What a training computes of its videos once, computed beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marey import device
from marey.cache import FeatureCache
from marey.config import Recipe
from marey.data import LeftOut, Stores, survey
from marey.distributed import Rank
from marey.manifest import Manifest
from marey.methods import build
from marey.recipes import DEFAULT, named


@dataclass(frozen=True)
class Precomputed:
    """The folder that was filled, the videos it holds, and those left out."""

    cache: Path
    videos: int
    left_out: tuple[LeftOut, ...]


def precompute(
    videos: str | Path | Sequence[str | Path] | Manifest,
    cache: str | Path,
    recipe: Recipe | str = DEFAULT,
    *,
    device_name: str = "auto",
    show: bool = False,
) -> Precomputed:
    """Fills a folder that `train(..., cache=...)` then finds filled.

    Of a frozen backbone the features, of a method led by motion the motion, and the decoded frames
    where the recipe keeps them. A training does the same while it runs; this is for those who want
    it done before, or on another machine. A stopped call goes on where it was.

    Raises ManifestError where no video can be read, ConfigError, StorageError.
    """
    recipe, cache = named(recipe), Path(cache)
    manifest = videos if isinstance(videos, Manifest) else Manifest.of(videos)
    corpus = survey(manifest, show, recipe.data.shortest)
    left_out = list(corpus.left_out)
    if recipe.data.copies:
        where = device.pick(device_name)
        method = build(recipe).to(where).eval()
        features = FeatureCache(cache, recipe, corpus, method.width)
        features.fill(method, where, Rank(), show)
        left_out += features.left_out()
    else:
        left_out += Stores.of(recipe, cache).fill(corpus, show)
    return Precomputed(cache, len(manifest) - len(left_out), tuple(left_out))
