"""The fast way through a backbone's frozen stages."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from marey import device
from marey.config import Precision
from marey.errors import ConfigError, ShapeError, StorageError
from marey.models.backbone import Backbone
from marey.models.compiling import Program, compile_stages
from marey.models.frozen import FrozenStages

_log = logging.getLogger(__name__)

_CHUNK, _CHUNK_GPU = 16, 128
"""Pictures that go through frozen stages at once, on a CPU in each thread (`docs/log.md`)."""
_CHUNK_PIXELS = 8 * 224 * 224
"""At most so many pixels of them on a CPU."""

_COMPILING_PAYS = {"cpu": 6.0, "cuda": 30.0}
"""Seconds of work ahead from which on compiling, for half the time or less, is worth it."""


class Trunk:
    """Runs a backbone: frozen stages fast and without graph, the others as they are.

    The frozen stages are copied with BatchNorm folded into the convolutions (in float32) and cast
    to bfloat16 where the hardware multiplies that natively, except the backbone's `exact_stages`.
    They run in chunks of fixed size, the last one padded, so that the result for a picture depends
    on no other and on no cut; on a CPU every thread takes chunks of its own. Where enough pictures
    are expected they are compiled first, with their weights as constants; where that is not
    possible they run eagerly, and `path` says why. The copy is made anew whenever the backbone's
    weights or their device have changed.

    It is no Module, so that the copy is part of no state_dict.

    Args:
        backbone: of which the first `backbone.frozen` stages are frozen.
        keep: numbers of the stages whose outputs are wanted.
        precision: of the frozen stages.
        compiled: whether to compile; None leaves it to the number of pictures expected.

    Attributes:
        path: what the last call did with the frozen stages, for people.
    """

    def __init__(
        self,
        backbone: Backbone,
        keep: Sequence[int],
        *,
        precision: Precision = "auto",
        compiled: bool | None = None,
    ) -> None:
        if not keep or not all(0 <= i < len(backbone.stage_names) for i in keep):
            raise ConfigError(f"Stages to keep must be in 0..{len(backbone.stage_names) - 1}.")
        self.backbone = backbone
        self.keep = tuple(keep)
        self.path = "not run yet"
        self._precision = precision
        self._compiled = compiled
        self._why = "few pictures expected" if compiled is None else "as asked for"
        self._expected = 0
        self._source: object = None
        self._eager: FrozenStages | None = None
        self._fast: dict[torch.Size, Program] = {}

    def __getstate__(self) -> dict[str, object]:
        """What a copy of the network takes along: not the programs, which hold its own weights."""
        return self.__dict__ | {"_source": None, "_eager": None, "_fast": {}}

    def expect(self, images: int) -> None:
        """Says how many pictures are about to come; compiling is decided by it at the next call."""
        self._expected = images

    def __call__(self, x: Tensor) -> dict[int, Tensor]:
        """(N, 3, H, W) normalised pictures to the maps of the kept stages, by number; or clips,
        (N, T, 3, H, W), of a network that takes these.

        Those of frozen stages are float32 without graph; trained stages run in one batch, in the
        caller's precision and with graph. Raises ShapeError for other shapes and for N = 0.
        """
        if x.ndim not in (4, 5) or x.shape[-3] != 3 or x.shape[0] == 0:
            raise ShapeError(f"pictures must be (N, 3, H, W) with N > 0, not {tuple(x.shape)}")
        start, stop = self.backbone.frozen, max(self.keep) + 1
        needed = {i for i in self.keep if i < start} | ({start - 1} if stop > start > 0 else set())
        maps = self._frozen(x, tuple(sorted(needed))) if needed else {}
        if stop > start:
            rest = self.backbone(maps.get(start - 1, x), start, stop)
            maps |= dict(enumerate(rest, start))
        return {i: self.backbone.as_map(maps[i]) for i in self.keep}

    def _frozen(self, x: Tensor, needed: tuple[int, ...]) -> dict[int, Tensor]:
        # whatever mode the caller is in, so that compiled code is compiled once
        off = torch.autocast(x.device.type, enabled=False)
        with torch.inference_mode(False), torch.no_grad(), off:
            return dict(zip(needed, self._ready(x, needed)(x), strict=True))

    def _ready(self, x: Tensor, needed: tuple[int, ...]) -> Program:
        """The fastest way at hand for pictures like these."""
        frozen = [m for i in range(needed[-1] + 1) for m in self.backbone.stage_modules(i)]
        used: list[Tensor] = [*self.backbone.parameters(recurse=False)]
        used += [p for m in frozen for p in (*m.parameters(), *m.buffers())]
        weights = [(p.data_ptr(), p._version) for p in used]
        source = (needed, x.device, weights)
        if self._eager is None or source != self._source:
            dtype = device.precision(x.device, self._precision)
            self._eager = FrozenStages(self.backbone, needed, dtype)
            self._source = source
            self._fast.clear()
        size, batch = x.shape[1:], _filled_up(x[: _chunk(x)])
        if size not in self._fast and self._compiling_pays(batch, self._eager):
            possible, why = device.can_compile(x.device)
            if possible:
                try:
                    self._fast[size] = _compiled(self._eager, batch)
                except (ImportError, RuntimeError, StorageError) as error:
                    possible, why = False, f"compiling failed ({error})"
            if not possible:
                self._compiled = False
                self._why = why
                _log.warning("frozen stages run eagerly, at about half the speed: %s", why)
        fast = size in self._fast
        kind = str(self._eager.dtype).removeprefix("torch.")
        self.path = f"compiled, {kind}" if fast else f"eager, {kind}: {self._why}"
        return self._fast[size] if fast else partial(_in_chunks, self._eager)

    def _compiling_pays(self, batch: Tensor, eager: FrozenStages) -> bool:
        images, self._expected = self._expected, 0
        if self._compiled is not None or not images:
            return bool(self._compiled)
        eager(batch)  # the first run is slower than the others
        start = time.perf_counter()
        eager(batch)[-1].sum().item()  # waits for a GPU
        ahead = (time.perf_counter() - start) * images / len(batch)
        return ahead >= _COMPILING_PAYS.get(batch.device.type, math.inf)


def _compiled(stages: FrozenStages, batch: Tensor) -> Program:
    program = compile_stages(stages, batch)
    return program if batch.device.type == "cpu" else partial(_in_chunks, program)


def _in_chunks(run: Program, x: Tensor) -> tuple[Tensor, ...]:
    """What `run` gives for full chunks, of any number of pictures, as float32."""

    def ready(part: Tensor) -> list[Tensor]:
        with torch.no_grad(), device.one_thread():  # of which other threads know nothing
            return [out[: len(part)].float() for out in run(_filled_up(part))]

    parts = x.split(_chunk(x))
    alone = x.device.type != "cpu"
    pieces = [*map(ready, parts)] if alone else device.side_by_side(ready, parts)
    return tuple(torch.cat(maps) for maps in zip(*pieces, strict=True))


def _chunk(x: Tensor) -> int:
    """How many pictures like these, or clips, go through at once."""
    if x.device.type != "cpu":
        return max(1, _CHUNK_GPU * 3 // x[0, ..., 0, 0].numel())
    return max(1, min(_CHUNK, _CHUNK_PIXELS * 3 // x[0].numel()))


def _filled_up(x: Tensor) -> Tensor:
    """A chunk of pictures and black ones, float32, channels last; x itself where it is one."""
    count, rows = _chunk(x), x.movedim(-3, -1)
    if len(x) == count and x.dtype == torch.float32 and rows.is_contiguous():
        return x
    full = torch.empty((count, *rows.shape[1:]), device=x.device)
    full[: len(x)] = rows
    full[len(x) :] = 0
    return full.movedim(-1, -3)
