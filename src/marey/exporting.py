"""A trained run as one folder to share: what embedding needs, and a card that says what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file

from marey import __version__, checkpoint, hub, released
from marey.config import Recipe, to_dict
from marey.errors import ConfigError
from marey.files import replacing_folder, write_json
from marey.methods.base import Method
from marey.programs import pixel_shape, write_onnx, write_torch

Format = Literal["folder", "torch", "onnx"]


@dataclass(frozen=True)
class Exported:
    """What `export_run` wrote: the folder, the files in it, and their size."""

    folder: Path
    files: tuple[Path, ...]
    megabytes: float


def export_run(
    run: str | Path, out: str | Path, *, format: Format = "folder", scores: str | Path | None = None
) -> Exported:
    """Writes a run as a folder to share, whole or not at all.

    Every format has run.json, with the recipe and counts, and a model card, README.md: what it was
    trained on (counts alone, no names), its recipe, its scores, whose terms hold. Beside them are

    - `folder`: model.safetensors, which every function of Marey takes for a run folder;
    - `torch`: features.pt2 and encode.pt2, for `torch.export.load`;
    - `onnx`: features.onnx and encode.onnx (extra `onnx`).

    Left out is what embedding does not need: heads of the loss, slow copies, queues, the state of
    the optimiser.

    Args:
        run: a run folder, an exported one too, `hf://owner/repo` on the hub (extra `hub`), or a
            checkpoint of CARL's release (`marey.released.load_carl`).
        out: the folder to write; an export that is there is replaced.
        scores: Markdown that `marey eval --out scores.md` wrote, for the card.

    Raises CheckpointError for a run without a finished checkpoint, ConfigError where `out` holds
    anything else or an extra is not installed, StorageError where it cannot be written.
    """
    text, out = str(run), Path(out)
    run = hub.fetch_run(text) if text.startswith("hf://") else Path(run)
    facts = {"source": run.name} if run.is_file() else checkpoint.read_run(run)
    _check_free(out, run)
    table = None if scores is None else _read_scores(Path(scores))
    method = released.load_carl(run) if run.is_file() else checkpoint.load_method(run)
    about = _about(method.recipe, facts, run)
    with replacing_folder(out) as draft:
        write_json(draft / "run.json", about)
        card = _card(method, about, format, table, out.resolve().name)
        (draft / "README.md").write_text(card, encoding="utf-8")
        if format == "folder":
            save_file(checkpoint.needed(method), draft / "model.safetensors", {"format": "pt"})
        elif format == "torch":
            write_torch(method, draft)
        else:
            write_onnx(method, draft)
    files = tuple(sorted(out.iterdir()))
    return Exported(out, files, sum(path.stat().st_size for path in files) / 1e6)


def _check_free(out: Path, run: Path) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if out.resolve() == run.resolve():
        raise ConfigError(f"{out} cannot be exported onto itself; give another --out.")
    if not (out / "run.json").is_file() or not checkpoint.read_run(out).get("exported"):
        raise ConfigError(f"{out} exists and is not an export; give another --out.")


def _read_scores(path: Path) -> str:
    if path.suffix != ".md" or not path.is_file():
        raise ConfigError(f"{path} is no table of scores; `marey eval RUN LABELS --out scores.md`.")
    return path.read_text(encoding="utf-8")


def _about(recipe: Recipe, facts: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """What run.json says: the recipe and counts, and of this machine nothing."""
    weights = recipe.encoder.weights
    if weights not in ("package", "random") and "://" not in weights:
        recipe = replace(recipe, encoder=replace(recipe.encoder, weights=Path(weights).name))
    steps = facts.get("steps")
    state = run / "checkpoint" / "state.json"
    if state.is_file():
        steps = json.loads(state.read_text(encoding="utf-8"))["step"]
    return {
        "format": checkpoint.FORMAT,
        "marey": __version__,
        "exported": True,
        "recipe": to_dict(recipe),
        "videos": facts.get("videos"),
        "frames": facts.get("frames"),
        "steps": steps,
        **({"source": facts["source"]} if "source" in facts else {}),
    }


def _card(
    method: Method, about: Mapping[str, Any], format: Format, scores: str | None, name: str
) -> str:
    recipe = method.recipe
    kind = recipe.method.name
    tags = "".join(f"- {tag}\n" for tag in ("video", "video-embedding", "self-supervised", kind))
    counts = ", ".join(
        f"{about[unit]:,} {unit}" for unit in ("videos", "frames", "steps") if about[unit]
    )
    settings = json.dumps(about["recipe"], indent=2)
    origin = f"read from `{about['source']}` by" if "source" in about else "with"
    return f"""---
library_name: marey
tags:
{tags}---

# {name}

An embedding of every {method.embeds} of a video, learned by `{kind}` on `{recipe.encoder.backbone}`
{origin} Marey {about["marey"]}.

## Use

{_use(method, format).strip()}

## Trained on

{counts or "not recorded"}. Nothing else about the videos is kept here.

## Scores

{(scores or "None were given. `marey eval` makes them, beside baselines.").strip()}

## Recipe

```json
{settings}
```

## License

{_terms(recipe.encoder.weights, about)}
"""


def _use(method: Method, format: Format) -> str:
    if format == "folder":
        return """```python
import marey

(embedding,) = marey.embed("this folder", "video.mp4")
embedding.vectors  # one row of unit length for each span of time, embedding.start_seconds
```
"""
    length, _, high, wide = pixel_shape(method)
    load = {
        "torch": 'features = torch.export.load("features.pt2").module()',
        "onnx": 'features = onnxruntime.InferenceSession("features.onnx")',
    }[format]
    frame = {"whole": "each frame squeezed to", "centre": "of each frame the centre,"}[method.crop]
    context = type(method).context(method.recipe)
    longer = ""
    if context and context > 1:
        longer = f"""
  It was trained on up to {context} rows at once. Marey gives it longer videos in windows of
  {context} rows, one every {context // 4}, and takes for each row the mean over its windows,
  weighted by the distance from their nearer end and brought to unit length again."""
    return f"""```python
{load}  # encode likewise
```

- `features`: `pixels` (N, {length}, 3, {high}, {wide}) float32, {frame} {wide} x {high} RGB in
  0..1, less the mean (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225); to (N,
  {method.width}).
- `encode`: `features` (B, N, {method.width}) of the N rows of each video, and `times` (B, N) int64,
  the frame number at which each row starts; to embeddings (B, N, D) of unit length.{longer}
"""


def _terms(weights: str, about: Mapping[str, Any]) -> str:
    if "source" in about:
        return (
            f"These weights are those of the file `{about['source']}`, which others trained and\n"
            "released; its terms hold."
        )
    name = about["recipe"]["encoder"]["weights"]
    start = {
        "package": "starting from EfficientNet-Lite0's ImageNet weights, Apache-2.0",
        "random": "starting from random weights",
    }.get(weights, f"starting from the weights `{name}`, whose terms hold")
    return (
        f"Marey is Apache-2.0; that says nothing of these weights. They were learned, {start}, on\n"
        "the videos above, whose terms may hold too. Whoever shares them decides on a license\n"
        "within those and writes it here."
    )
