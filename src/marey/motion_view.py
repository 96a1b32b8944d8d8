"""What the motion-led methods see of a video, drawn over it, to be judged by eye."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import cv2
import numpy as np

from marey.config import Recipe
from marey.errors import ConfigError
from marey.methods import find
from marey.motion import MotionMaps, boundaries, video_motion
from marey.progress import bar
from marey.recipes import named
from marey.tubelets import focused
from marey.types import F32, I64, U8, VideoInfo, View
from marey.video import VideoWriter, probe, stream

PANEL = 288  # height of a panel in pixels
STRIP = 96  # height of the time line
MARGIN = 8
PAPER, INK, QUIET = (247, 245, 240), (28, 43, 54), (178, 186, 192)
COLOURS = ((255, 107, 74), (255, 196, 61), (52, 152, 219), (46, 204, 113))
NAMES = ("query", "same clip", "other clip", "other clip")


@dataclass(frozen=True)
class MotionFilm:
    """What `motion_film` wrote, and what would be kept of the video's motion."""

    path: Path
    frames: int
    kept_bytes: int
    seconds: float

    @property
    def megabytes_a_minute(self) -> float:
        """Size of the kept maps per minute of video."""
        return self.kept_bytes / 1e6 * 60 / max(self.seconds, 1e-9)


def motion_film(
    video: str | PathLike[str],
    out: str | PathLike[str],
    recipe: Recipe | str = "mcl",
    *,
    seed: int = 0,
    show: bool = False,
) -> MotionFilm:
    """Draws a video's motion: the flow, its boundaries, and what a training would choose by them.

    Three panels: the video with its frame map (the brighter, the more motion counts there) and the
    tubelets of one draw; the flow, hue for direction and brightness for speed, which a moving
    camera fills; its boundaries, where constant motion has cancelled. Below, over time: the score
    of the clip that starts there, in colour where motion-focused sampling may start one, and the
    clips drawn.

    Args:
        out: an .mp4 to write.
        recipe: of a method that is led by motion, or its name.
        seed: of the draw.

    Raises VideoError, ConfigError for a method that does not ask for motion, StorageError.
    """
    recipe = named(recipe)
    settings = find(recipe).motion(recipe)
    if settings is None:
        raise ConfigError("This recipe does not look at motion; choose another, such as `mcl`.")
    info = probe(Path(video))
    maps = video_motion(info.path, settings)
    views = find(recipe).views(recipe, info, np.random.default_rng(seed), maps)
    out = Path(out)
    line = _time_line(maps, views, settings.clip, 3 * _width(info) + 4 * MARGIN)
    height = PANEL + len(line) + 3 * MARGIN
    with (
        bar(f"Writing {out.name}", info.frames, show) as advance,
        VideoWriter(
            out, info.fps, height + height % 2, line.shape[1] + line.shape[1] % 2
        ) as writer,
    ):
        for page in _pages(info, maps, views, settings.window, line):
            writer.write(page[None])
            advance()
    return MotionFilm(out, info.frames, maps.nbytes, float(info.seconds[-1] + 1 / info.fps))


def _width(info: VideoInfo) -> int:
    return max(2, round(PANEL * info.width / info.height))


def _pages(
    info: VideoInfo, maps: MotionMaps, views: list[View], window: int, line: U8
) -> Iterator[U8]:
    width = _width(info)
    size = min(PANEL, info.height, info.width)
    fastest = float(np.percentile(np.abs(maps.flow(np.arange(maps.frames))), 99)) + 1e-6
    sharpest = float(np.percentile(maps.maps, 99.5)) + 1e-6
    steepest = 1e-6
    for frames in stream(info.path, size=size, info=info):
        for number, pixels in zip(frames.index.tolist(), frames.pixels, strict=True):
            near = np.arange(number - window // 2 + 1, number + window // 2 + 1)
            near = near[(near >= 0) & (near < maps.frames - 1)]
            edges = boundaries(maps.flow(near).sum(0)).mean(0)
            steepest = max(steepest * 0.99, float(edges.max()))
            picture = cv2.resize(pixels, (width, PANEL), interpolation=cv2.INTER_AREA)
            panels = [
                _tubelets(_heat(picture, maps.maps[number] / sharpest), views, number),
                _flow_picture(maps.flow(np.array([number]))[0] / fastest, width),
                _edge_picture(edges / steepest, width),
            ]
            yield _page(panels, line, number / max(1, info.frames - 1))


def _heat(picture: U8, cells: F32) -> U8:
    """The picture, dimmed where there is little motion."""
    light = cv2.resize(np.clip(cells, 0, 1).astype(np.float32), picture.shape[1::-1])
    return np.asarray(picture * (0.55 + 0.45 * light[..., None]), np.uint8)


def _tubelets(picture: U8, views: list[View], number: int) -> U8:
    height, width = picture.shape[:2]
    # later ones first, so that the query lies on top
    for i in reversed(range(len(views))):
        view = views[i]
        if view.index[0] <= number <= view.index[-1]:
            top, left, tall, wide = view.draw.box
            corner = (round(left * width), round(top * height))
            far = (round((left + wide) * width) - 1, round((top + tall) * height) - 1)
            cv2.rectangle(picture, corner, far, COLOURS[i], 2, cv2.LINE_AA)
            place = (corner[0] + 5, min(far[1] - 6, corner[1] + 14 + 13 * (i % 2)))
            _write(picture, NAMES[i], place, COLOURS[i])
    return picture


def _flow_picture(flow: F32, width: int) -> U8:
    """(2, h, w) flow, 1 = fast, as hue and brightness."""
    u, v = (cv2.resize(c, (width, PANEL), interpolation=cv2.INTER_CUBIC) for c in flow)
    colours = np.empty((PANEL, width, 3), np.uint8)
    colours[..., 0] = np.round((np.arctan2(v, u) / (2 * np.pi) % 1) * 179)
    colours[..., 1] = 230
    colours[..., 2] = np.round(255 * np.clip(np.hypot(u, v), 0, 1))
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_HSV2RGB))


def _edge_picture(edges: F32, width: int) -> U8:
    large = cv2.resize(edges, (width, PANEL), interpolation=cv2.INTER_CUBIC)
    grey = np.round(255 * np.clip(large, 0, 1)).astype(np.uint8)
    return np.asarray(
        cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    )


def _time_line(maps: MotionMaps, views: list[View], span: int, width: int) -> U8:
    """Clip scores over the starts, those where sampling may start, and the clips drawn."""
    rows = 12 * len(views)
    line = np.full((STRIP + rows, width, 3), PAPER, np.uint8)
    scores = maps.scores
    may = np.zeros(len(scores), bool)
    may[np.concatenate(focused(scores, span))] = True
    at = _columns(np.arange(len(scores)), maps.frames, width)
    tall = np.round((STRIP - 24) * scores / max(float(scores.max()), 1e-9)).astype(int)
    wide = max(1, math.ceil((width - 2 * MARGIN) / maps.frames))
    for x, y, chosen in zip(at.tolist(), tall.tolist(), may.tolist(), strict=True):
        colour = COLOURS[0] if chosen else QUIET
        cv2.rectangle(line, (x, STRIP - 4 - y), (x + wide - 1, STRIP - 4), colour, cv2.FILLED)
    _write(line, "motion of the clip that starts here; in colour: may be drawn", (MARGIN, 14), INK)
    for i, view in enumerate(views):
        first, last = _columns(view.index[[0, -1]], maps.frames, width).tolist()
        top = STRIP + 12 * i
        cv2.rectangle(line, (first, top), (last + wide - 1, top + 9), COLOURS[i], cv2.FILLED)
    return line


def _columns(frames: I64, count: int, width: int) -> I64:
    return np.asarray(MARGIN + frames * (width - 2 * MARGIN) // count, np.int64)


def _page(panels: list[U8], line: U8, share: float) -> U8:
    width = line.shape[1]
    page = np.full((PANEL + len(line) + 3 * MARGIN, width, 3), PAPER, np.uint8)
    for i, (panel, name) in enumerate(zip(panels, ("tubelets", "flow", "boundaries"), strict=True)):
        left = MARGIN + i * (panel.shape[1] + MARGIN)
        _write(panel, name, (6, PANEL - 8), (255, 255, 255))
        page[MARGIN : MARGIN + PANEL, left : left + panel.shape[1]] = panel
    page[PANEL + 2 * MARGIN : -MARGIN] = line
    x = round(MARGIN + share * (width - 2 * MARGIN - 1))
    cv2.line(page, (x, PANEL + 2 * MARGIN + 18), (x, len(page) - MARGIN), INK, 1)
    even = ((0, len(page) % 2), (0, width % 2), (0, 0))  # which most codecs ask for
    return np.pad(page, even, mode="edge")


def _write(picture: U8, text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)
