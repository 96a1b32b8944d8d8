"""Progress bars on the terminal, and reading ahead in the background."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

console = Console(stderr=True)
"""Where Marey talks to the user; results alone go to standard output."""

Advance = Callable[..., None]
"""advance(n=1, note="...") moves a bar by n and shows a note behind it."""


@contextmanager
def bar(task: str, total: int | None, show: bool = True) -> Iterator[Advance]:
    """A progress bar on standard error while the block runs; silent where `show` is False."""
    if not show:
        yield lambda n=1, note="": None
        return
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        key = progress.add_task(task, total=total, note="")

        def advance(n: int = 1, note: str | None = None) -> None:
            fields: dict[str, Any] = {} if note is None else {"note": note}
            progress.update(key, advance=n, **fields)

        yield advance


def ahead(items: Iterable[T], depth: int = 4) -> Iterator[T]:
    """Yields `items`, produced in a background thread up to `depth` in advance.

    An exception of the producer is raised in the consumer, in its place; a consumer that stops
    early stops the producer.
    """
    box: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not stopped.is_set():
            try:
                box.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # noqa: BLE001 - handed on to the consumer, whatever it is
            put("error", error)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = box.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stopped.set()
        thread.join()
