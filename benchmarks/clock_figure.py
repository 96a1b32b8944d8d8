"""Draws what `clock.py` measured, as one SVG that needs no font, script or network."""

from __future__ import annotations

import base64
import html
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from marey.alignment import match, nearest, similarity
from marey.evaluation.frames import kendalls_tau
from marey.types import F32, F64

Numbers = Sequence[float] | NDArray[np.floating[Any]] | NDArray[np.integer[Any]]
Point = tuple[float, float]

INK, QUIET, LINE = "#263238", "#546e7a", "#cfd8dc"
ABSOLUTE, ROTARY = "#d84315", "#00796b"
COLOURS = {"absolute": ABSOLUTE, "rotary": ROTARY}
NAMES = {"absolute": "absolute positions", "rotary": "relative positions"}
DOT = 'fill="#ff7043" stroke="#fff" stroke-width="0.6"'
TRUE = 'stroke-width="7" stroke-opacity="0.18" stroke-linecap="round"'
CLOCK = 'stroke-width="2" stroke-dasharray="6 4"'
WIDTH, HEIGHT = 1000, 850
STYLE = f"""
text {{ font: 13px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: {INK} }}
.h {{ font-size: 16px; font-weight: 600 }} .q {{ fill: {QUIET} }} .s {{ font-size: 12px }}
.m {{ text-anchor: middle }} .e {{ text-anchor: end }} .b {{ font-weight: 600 }}
image {{ image-rendering: pixelated }}
"""
TITLE = (
    "What a network knows of time without seeing anything: an untrained network with absolute "
    "positions aligns two videos of noise perfectly; a video that starts late is misaligned by it; "
    "its training loss falls as fast without pixels as with them; and its scores are the clock's."
)


def panels(
    *,
    noise: Mapping[str, tuple[F32, F32]],
    late: Mapping[str, tuple[F32, F32]],
    progress: tuple[F64, F64],
    lost: int,
    curves: Mapping[tuple[str, str], Sequence[float]],
    nothing: float,
    scores: Mapping[str, tuple[float, float]],
) -> str:
    """The whole figure.

    noise: by position, untrained embeddings of two videos of noise.
    late: by position, and `clock`, embeddings of a video that starts late and of a whole one.
    progress: of these two, in phases.  lost: frames that the first one lost.
    curves: by (position, what was shown), the loss over the steps.  nothing: the loss of an
        embedding that is the same everywhere.
    scores: by name, AP@5 on whole and on shifted videos.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="title">\n<title id="title">{TITLE}</title>\n<style>{STYLE}</style>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="#fafafa"/>',
        *_noise(noise),
        *_late(late, progress, lost),
        *_loss(curves, nothing),
        *_scores(scores),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _noise(noise: Mapping[str, tuple[F32, F32]]) -> list[str]:
    parts = [_text(30, 42, "a  Two videos of noise, nothing learned", "h")]
    tables = {position: similarity(*pair) for position, pair in noise.items()}
    for (position, pair), left in zip(noise.items(), (56, 292), strict=True):
        table, side, top = tables[position], 200.0, 74.0
        rows, columns = table.shape
        found = match(nearest(*pair))
        # each on its own scale: on a common one the second would be a single colour
        parts.append(_image(table, left, top, side))
        for i, j in enumerate(found):
            x, y = left + (j + 0.5) / columns * side, top + side - (i + 0.5) / rows * side
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.3" {DOT}/>')
        middle = left + side / 2
        tau = kendalls_tau(pair, stride=1)
        parts += [
            _text(middle, top - 10, NAMES[position], "m b", COLOURS[position]),
            _text(middle, top + side + 20, "frame of the second video", "m s q"),
            _text(middle, top + side + 42, f"tau {_signed(tau)}", "m b"),
        ]
    parts.append(_upright(40, 174, "frame of the first video"))
    parts.append(_text(56, 350, "Bright: alike. Dots: nearest frame of the second video.", "s q"))
    return parts


def _late(late: Mapping[str, tuple[F32, F32]], progress: tuple[F64, F64], lost: int) -> list[str]:
    query, reference = progress
    here = _Axes(600, 64, 350, 236, (lost, lost + len(query) - 1), (0, len(reference) - 1))
    at = np.arange(lost, lost + len(query))
    truth = np.interp(query, reference, np.arange(len(reference)))
    told = np.linspace(0, len(reference) - 1, len(query))
    parts = [
        _text(560, 42, "b  A video that starts late", "h"),
        *here.frame(_ticks(lost, at[-1], 10), _ticks(0, len(reference) - 1, 10)),
        here.line(at, told, QUIET, CLOCK),
        here.line(at, truth, INK, TRUE),
    ]
    for position, pair in late.items():
        found = match(nearest(*pair))
        for i, j in zip(at, found, strict=True):
            x, y = here.place(i, j)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="{COLOURS[position]}"/>')
    parts += [
        _text(775, 334, "frame of the video that starts late", "m s q"),
        _upright(566, 182, "frame of a whole video"),
    ]
    keys = (("true", INK, TRUE), ("clock", QUIET, CLOCK))
    x = 590.0
    for name, colour, style in keys:
        parts.append(f'<path d="M{x} 354 h22" stroke="{colour}" fill="none" {style}/>')
        parts.append(_text(x + 28, 358, name, "s"))
        x += 74
    for position in late:
        parts.append(f'<circle cx="{x + 4}" cy="354" r="3.8" fill="{COLOURS[position]}"/>')
        parts.append(_text(x + 14, 358, NAMES[position], "s"))
        x += 136
    return parts


def _loss(curves: Mapping[tuple[str, str], Sequence[float]], nothing: float) -> list[str]:
    steps = len(next(iter(curves.values())))
    top = max(1.15 * nothing, 0.1)
    here = _Axes(72, 436, 330, 300, (1, steps), (0, top))
    parts = [
        _text(30, 414, "c  The loss with eyes and without", "h"),
        *here.frame(_ticks(0, steps, 50)[1:], np.arange(0, top, 0.2 if top < 1.5 else 0.5)),
        here.line([1, steps], [nothing, nothing], QUIET, 'stroke-dasharray="2 4"'),
        _text(250, here.place(1, nothing)[1] + 18, "knows nothing", "s q"),
        _text(237, 772, "step of the training", "m s q"),
        _upright(34, 586, "sequence contrastive loss"),
    ]
    ends = {}
    for (position, shown), losses in curves.items():
        width = max(1, steps // 20)
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        style = 'stroke-width="2.4"' + (' stroke-dasharray="3 4"' if shown == "noise" else "")
        x = np.arange(width, steps + 1)
        parts.append(here.line(x, np.minimum(smooth, top), COLOURS[position], style))
        ends[position, shown] = here.place(steps, float(min(smooth[-1], top)))[1]
    for (position, shown), y in zip(ends, _apart(list(ends.values()), 16), strict=True):
        name = f"{NAMES[position].split()[0]}, {shown}"
        parts.append(_text(408, y + 4, name, "s", COLOURS[position]))
    parts.append(_text(72, 800, "Solid: it sees the videos. Dotted: it sees noise, drawn", "s q"))
    parts.append(_text(72, 817, "anew for either view. Views hold whole videos.", "s q"))
    return parts


def _scores(scores: Mapping[str, tuple[float, float]]) -> list[str]:
    low = np.floor(10 * min(map(min, scores.values()))) / 10
    high = np.ceil(10 * max(map(max, scores.values()))) / 10
    here = _Axes(740, 456, 210, 260, (low, high), (0, len(scores)))
    parts = [
        _text(560, 414, "d  Same phase among the 5 nearest frames", "h"),
        *here.frame(np.arange(low, high + 0.01, 0.1), ()),
    ]
    for row, (name, (whole, shifted)) in enumerate(scores.items()):
        colour = next((c for key, c in COLOURS.items() if key in name), QUIET)
        y = here.place(low, len(scores) - row - 0.5)[1]
        a, b = here.place(whole, 0)[0], here.place(shifted, 0)[0]
        shown = name.replace("rotary", "relative")
        parts += [
            _text(728, y + 4, shown, "e", colour if colour != QUIET else INK),
            f'<path d="M{a:.1f} {y:.1f} H{b:.1f}" stroke="{colour}" stroke-opacity="0.45" '
            'stroke-width="2"/>',
            f'<circle cx="{a:.1f}" cy="{y:.1f}" r="5.5" fill="#fafafa" stroke="{colour}" '
            'stroke-width="2"/>',
            f'<circle cx="{b:.1f}" cy="{y:.1f}" r="6" fill="{colour}"/>',
        ]
    parts += [
        _text(845, 752, "AP@5", "m s q"),
        f'<circle cx="606" cy="796" r="5.5" fill="#fafafa" stroke="{QUIET}" stroke-width="2"/>',
        _text(620, 800, "whole videos: the published protocol", "s q"),
        f'<circle cx="606" cy="813" r="6" fill="{QUIET}"/>',
        _text(620, 817, "shifted videos: up to 35 % lost at either end", "s q"),
    ]
    return parts


class _Axes:
    """A box on the page, and where numbers lie in it."""

    def __init__(
        self, left: float, top: float, width: float, height: float, x: Point, y: Point
    ) -> None:
        self.left, self.top, self.width, self.height = left, top, width, height
        self.x, self.y = x, y

    def place(self, x: float, y: float) -> Point:
        right = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.left + right * self.width, self.top + (1 - up) * self.height

    def line(self, x: Numbers, y: Numbers, colour: str, style: str) -> str:
        points = " ".join("{:.1f},{:.1f}".format(*self.place(*p)) for p in zip(x, y, strict=True))
        return f'<polyline points="{points}" fill="none" stroke="{colour}" {style}/>'

    def frame(self, x: Numbers, y: Numbers) -> list[str]:
        """Grid lines at these places, with their numbers."""
        bottom, right = self.top + self.height, self.left + self.width
        parts = []
        for value in x:
            at = self.place(value, self.y[0])[0]
            parts.append(f'<path d="M{at:.1f} {self.top} V{bottom}" stroke="{LINE}"/>')
            parts.append(_text(at, bottom + 17, f"{value:.3g}", "m s q"))
        for value in y:
            at = self.place(self.x[0], value)[1]
            parts.append(f'<path d="M{self.left} {at:.1f} H{right}" stroke="{LINE}"/>')
            parts.append(_text(self.left - 7, at + 4, f"{value:.3g}", "e s q"))
        return parts


def _text(x: float, y: float, words: str, kind: str, colour: str | None = None) -> str:
    style = f' style="fill:{colour}"' if colour else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}"{style}>{html.escape(words)}</text>'


def _upright(x: float, y: float, words: str) -> str:
    turned = f'transform="rotate(-90 {x} {y})"'
    return f'<text x="{x}" y="{y}" class="m s q" {turned}>{html.escape(words)}</text>'


def _image(table: F32, left: float, top: float, side: float) -> str:
    """A similarity as a picture, the first row at the bottom, from its least to its largest."""
    grey = np.round(255 * (table - table.min()) / max(float(np.ptp(table)), 1e-9))
    coloured = cv2.applyColorMap(grey[::-1].astype(np.uint8), cv2.COLORMAP_CIVIDIS)
    data = base64.b64encode(cv2.imencode(".png", coloured)[1].tobytes()).decode()
    return (
        f'<image x="{left}" y="{top}" width="{side}" height="{side}" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{data}"/>'
    )


def _apart(places: Sequence[float], least: float) -> list[float]:
    """The places, moved up where two would lie closer than that."""
    moved = list(places)
    order = sorted(range(len(places)), key=lambda i: -places[i])
    for below, above in itertools.pairwise(order):
        moved[above] = min(moved[above], moved[below] - least)
    return moved


def _ticks(low: float, high: float, every: int) -> list[float]:
    return [float(v) for v in range(int(np.ceil(low / every)) * every, int(high) + 1, every)]


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
