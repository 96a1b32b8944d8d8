"""An HTML page of what a run learned: one file, pictures inside, to be opened or sent."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from marey import pictures
from marey.evaluation.scores import Scores
from marey.files import replacing
from marey.pair import Pair

STYLE = """
:root { color-scheme: light; --ink: #1c2b36; --quiet: #66757f; --line: #d9e0e4; --hot: #d9472b }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: #f7f9fa;
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem; margin-bottom: .2rem } h2 { font-size: 1.2rem; margin-top: 2.4rem }
p.quiet, figcaption, caption, dt { color: var(--quiet) }
figure { margin: 1rem 0; background: #fff; border: 1px solid var(--line); border-radius: 8px;
         padding: .8rem } figure img, video { max-width: 100%; height: auto; display: block }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
caption { text-align: left; padding: .3rem 0 } th, td { padding: .25rem .7rem; text-align: right }
thead th { border-bottom: 2px solid var(--ink) } tbody th { text-align: left }
tbody tr + tr > * { border-top: 1px solid var(--line) } td.best { font-weight: 700 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem } dd { margin: 0 }
code { background: #e9eef1; padding: .1rem .3rem; border-radius: 4px }
"""

EXPLAINED = """
<p class="quiet">Accuracy of a linear probe that names the phase of a frame (<b>cls</b>, from 10,
50 and 100 % of the labelled videos), R² of the time left to each boundary (<b>progr.</b>),
Kendall's <b>tau</b>, precision of the K nearest frames of other videos (<b>AP@K</b>), and the mean
error of an alignment in phases (<b>err</b>, by nearest neighbour and by time warping; less is
better). The <b>clock</b> t/n sees no pixel, <b>frozen</b> is the backbone alone, <b>untrained</b>
the same network before training. Bold is the best of a column.</p>
"""


def write_report(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    log: Sequence[Mapping[str, Any]],
    pair: Pair,
    video: Path | None = None,
    stranger: Pair | None = None,
    scores: Scores | None = None,
) -> None:
    """Writes the page.

    Args:
        facts: what stands at the top, such as run, videos, time and hardware.
        log: lines of the run's log.jsonl, for the loss curve.
        pair: two aligned videos.  video: both side by side, shown from where it lies.
        stranger: an alignment of two videos that do not belong together, for comparison.
        scores: an evaluation, where there were labels.

    Raises StorageError where it cannot be written.
    """
    names = " and ".join(f"<b>{_text(name)}</b>" for name in pair.names)
    parts = [
        f"<h1>{_text(title)}</h1>",
        "<dl>" + "".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in facts.items()),
        "</dl>",
        f"<h2>Two videos laid over one another</h2><p>{names}: {_verdict(pair)}</p>",
        _figure(
            pair.strip_picture(),
            "Above: moments of the first video. Below: the frames of the second that match them.",
        ),
    ]
    if video is not None:
        source = html.escape(video.relative_to(path.parent).as_posix(), quote=True)
        parts.append(
            f"<figure><video controls loop muted autoplay src='{source}'></video><figcaption>"
            "The second video follows the first, moment by moment.</figcaption></figure>"
        )
    parts.append("<div class='pair'>")
    parts.append(_figure(pair.similarity_picture(), "How alike any two moments are, and the path."))
    if stranger is not None:
        caption = f"For comparison, two videos of different actions: {_verdict(stranger)}"
        parts.append(_figure(stranger.similarity_picture(), caption))
    parts.append("</div>")
    if scores is not None:
        parts += ["<h2>Scores</h2>", EXPLAINED, f"<div class='wide'>{scores.html()}</div>"]
    if log:
        curve = pictures.curve_picture(
            [line["step"] for line in log], [line["loss"] for line in log]
        )
        parts += ["<h2>Training</h2>", _figure(curve, "The loss over the steps of the training.")]
    page = (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{_text(title)}</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )
    with replacing(path) as draft:
        draft.write_text(page, encoding="utf-8")


def _verdict(pair: Pair) -> str:
    judged = "they belong together" if pair.belongs else "they do not seem to belong together"
    return f"{judged} (alignability {pair.alignability:.2f})."


def _figure(figure: Figure, caption: str) -> str:
    data = base64.b64encode(pictures.png(figure)).decode()
    text = html.escape(caption)
    return (
        f"<figure><img alt='{text}' src='data:image/png;base64,{data}'>"
        f"<figcaption>{text}</figcaption></figure>"
    )


def _text(value: str) -> str:
    return html.escape(value)
