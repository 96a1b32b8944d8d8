"""Pictures of what was learned: similarity with its path, strips of matched frames, loss curves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from marey.files import replacing
from marey.types import F32, F64, U8

INK, PATH, QUIET = "#1c2b36", "#ff6b4a", "#8a98a3"


def similarity_picture(
    similarity: F32, path_seconds: F64, lengths: tuple[float, float], names: tuple[str, str]
) -> Figure:
    """Cosine similarity of two videos as an image, with the alignment's path over it.

    similarity: (n, m), the query's rows upward, thinned out as far as one likes.
    path_seconds: (2, K) times of the matched rows.  lengths: seconds of query and reference.
    """
    figure = _figure(5.4, 4.6)
    axes = figure.add_subplot()
    image = axes.imshow(
        similarity,
        origin="lower",
        aspect="auto",
        cmap="cividis",
        extent=(0, lengths[1], 0, lengths[0]),
        interpolation="nearest",
    )
    axes.plot(path_seconds[1], path_seconds[0], color=PATH, linewidth=2.2)
    axes.set_ylabel(f"{_literal(names[0])} (seconds)")
    axes.set_xlabel(f"{_literal(names[1])} (seconds)")
    figure.colorbar(image, ax=axes, label="cosine similarity")
    return figure


def strip_picture(rows: Sequence[U8], titles: Sequence[str], captions: Sequence[str]) -> Figure:
    """Rows of frames, one above the other, so that each column shows one moment.

    rows: R arrays (K, H, W, 3) uint8, one per video.  titles: R.  captions: K, under the columns.
    """
    columns = len(captions)
    shapes = [row.shape[1] / row.shape[2] for row in rows]
    figure = _figure(1.5 * columns + 0.3, sum(1.5 * shape + 0.2 for shape in shapes) + 0.3)
    for r, (frames, title) in enumerate(zip(rows, titles, strict=True)):
        for k, frame in enumerate(frames):
            axes = figure.add_subplot(len(rows), columns, r * columns + k + 1)
            axes.imshow(frame)
            axes.set_xticks([])
            axes.set_yticks([])
            if k == 0:
                axes.set_ylabel(_literal(title), fontsize=8)
            if r == len(rows) - 1:
                axes.set_xlabel(captions[k], fontsize=8)
    return figure


def tiles_picture(
    frames: Sequence[U8], titles: Sequence[str], captions: Sequence[str], columns: int = 6
) -> Figure:
    """Frames of any sizes in rows, each with a title above and a caption below.

    frames: K arrays (H, W, 3) uint8.  titles, captions: K.
    """
    columns = min(columns, len(frames))
    rows = -(-len(frames) // columns)
    tallest = max(frame.shape[0] / frame.shape[1] for frame in frames)
    figure = _figure(1.7 * columns, rows * (1.6 * tallest + 0.5))
    for k, frame in enumerate(frames):
        axes = figure.add_subplot(rows, columns, k + 1)
        axes.imshow(frame)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(_literal(titles[k], 24), fontsize=7)
        axes.set_xlabel(captions[k], fontsize=8)
    return figure


def curve_picture(steps: Sequence[int], loss: Sequence[float]) -> Figure:
    """A loss over the steps of a training, as logged and smoothed."""
    figure = _figure(5.4, 3.0)
    axes = figure.add_subplot()
    axes.plot(steps, loss, color=QUIET, linewidth=0.8, alpha=0.7, label="logged")
    width = max(1, len(loss) // 20)
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    axes.plot(steps[width - 1 :], smooth, color=PATH, linewidth=2, label=f"mean of {width}")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def side_by_side(
    left: U8, right: U8, done: tuple[float, float], seconds: tuple[float, float]
) -> U8:
    """Two frames beside one another at one height, with a time and a bar of progress under each.

    left, right: (H, W, 3) uint8, any sizes.  done: shares 0..1 of the two videos that have passed.
    """
    height = max(left.shape[0], right.shape[0], 240)
    panels = [
        _panel(frame, height, share, time)
        for frame, share, time in zip((left, right), done, seconds, strict=True)
    ]
    gap = np.full((panels[0].shape[0], 6, 3), 20, np.uint8)
    return np.concatenate([panels[0], gap, panels[1]], axis=1)


def _panel(frame: U8, height: int, share: float, seconds: float) -> U8:
    width = round(frame.shape[1] * height / frame.shape[0])
    shown = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    foot = np.full((28, width, 3), 20, np.uint8)
    cv2.rectangle(foot, (0, 0), (max(1, round(width * share)), 4), (255, 107, 74), -1)
    text = f"{seconds:.2f} s"
    cv2.putText(
        foot, text, (8, 21), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235, 235, 235), 1, cv2.LINE_AA
    )
    return np.concatenate([shown.astype(np.uint8), foot])


def save(figure: Figure, path: Path) -> None:
    """Writes a picture as .png. Raises StorageError."""
    data = png(figure)
    with replacing(path) as draft:
        draft.write_bytes(data)


def png(figure: Figure) -> bytes:
    """The picture as a PNG in memory."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _literal(name: str, longest: int = 40) -> str:
    """A file's name that matplotlib does not read as a formula, cut to what fits."""
    name = name if len(name) <= longest else "..." + name[3 - longest :]
    return name.replace("$", r"\$")
