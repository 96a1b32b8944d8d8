"""Formulas as MathML, which browsers draw by themselves: no script, no font, no network."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

_INLINE = re.compile(r'<span class="arithmatex">\\\((.+?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.+?)\\\]\s*</div>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Called by MkDocs with the HTML of every page."""
    content = content.replace("::</p>", ":</p>")  # what docstrings end with before a formula
    content = _INLINE.sub(lambda m: convert(html.unescape(m[1])), content)
    return _BLOCK.sub(lambda m: convert(html.unescape(m[1]), display="block"), content)
