"""What `import marey` offers."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import marey


def test_the_exports_are_frozen() -> None:
    assert set(marey.__all__) == {
        "Alignment", "Archive", "Embeddings", "Manifest", "MareyError", "Model", "align", "demo",
        "doctor", "embed", "embed_to", "evaluate", "evaluate_clips", "evaluate_elements",
        "export_run", "finetune", "motion_film", "precompute", "prepare", "reproduce", "search",
        "train",
    }  # fmt: skip


def test_no_module_hides_a_function_of_its_name() -> None:
    for module in pkgutil.iter_modules(marey.__path__):
        if module.name != "__main__":
            importlib.import_module(f"marey.{module.name}")
    for name in marey.__all__:
        assert callable(getattr(marey, name)), name
        assert getattr(marey, name).__doc__, name


def test_other_names_are_missing_as_anywhere() -> None:
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        _ = marey.magic
