"""Marey learns from unlabelled video where in an action every frame is, and what is moving.

    import marey
    marey.train("videos/", out="run")
    pair = marey.align("run", "a.mp4", "b.mp4")

Every command of the command line is a function here. They are imported when first used, so that
`import marey` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from marey.datasets import prepare
    from marey.demonstration import demo
    from marey.embedding import Model, embed, embed_to
    from marey.errors import MareyError
    from marey.evaluation.clips import evaluate_clips
    from marey.evaluation.elements import evaluate_elements
    from marey.evaluation.protocol import evaluate
    from marey.exporting import export_run
    from marey.finetuning import finetune
    from marey.health import doctor
    from marey.manifest import Manifest
    from marey.moments import Archive, search
    from marey.motion_view import motion_film
    from marey.pair import align
    from marey.precomputation import precompute
    from marey.reproduction.running import reproduce
    from marey.training import train
    from marey.types import Alignment, Embeddings

_WHERE = {
    "Alignment": "types",
    "Archive": "moments",
    "Embeddings": "types",
    "Manifest": "manifest",
    "MareyError": "errors",
    "Model": "embedding",
    "align": "pair",
    "demo": "demonstration",
    "doctor": "health",
    "embed": "embedding",
    "embed_to": "embedding",
    "evaluate": "evaluation.protocol",
    "evaluate_clips": "evaluation.clips",
    "evaluate_elements": "evaluation.elements",
    "export_run": "exporting",
    "finetune": "finetuning",
    "motion_film": "motion_view",
    "precompute": "precomputation",
    "prepare": "datasets",
    "reproduce": "reproduction.running",
    "search": "moments",
    "train": "training",
}

__all__ = [
    "Alignment",
    "Archive",
    "Embeddings",
    "Manifest",
    "MareyError",
    "Model",
    "align",
    "demo",
    "doctor",
    "embed",
    "embed_to",
    "evaluate",
    "evaluate_clips",
    "evaluate_elements",
    "export_run",
    "finetune",
    "motion_film",
    "precompute",
    "prepare",
    "reproduce",
    "search",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'marey' has no attribute {name!r}")
    return getattr(importlib.import_module(f"marey.{_WHERE[name]}"), name)
