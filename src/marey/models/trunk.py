"""The fast way through a backbone's frozen stages."""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from marey import device
from marey.config import Precision
from marey.errors import ConfigError, ShapeError
from marey.models.backbone import Backbone

_log = logging.getLogger(__name__)

_CHUNK, _CHUNK_GPU = 16, 128
"""Pictures that go through frozen stages at once, on a CPU in each thread."""
_CHUNK_PIXELS, _SLICE_PIXELS = 16 * 224 * 224, 4 * 224 * 224
"""At most so many pixels of them on a CPU, and so many in the first stages, whose maps are large
and shall stay in its cache; the others take a whole chunk at a call (`docs/log.md`)."""
_SMALL = 16
"""Stride of a stage from which on its maps are small."""

_COMPILING_PAYS = 30.0
"""Seconds of work ahead from which on compiling (5 to 20 s, for half the time) is worth it."""


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
        self._eager: _FrozenStages | None = None
        self._fast: dict[torch.Size, Callable[[Tensor], tuple[Tensor, ...]]] = {}

    def expect(self, images: int) -> None:
        """Says how many pictures are about to come; compiling is decided by it at the next call."""
        self._expected = images

    def __call__(self, x: Tensor) -> dict[int, Tensor]:
        """(N, 3, H, W) normalised pictures to the maps of the kept stages, by number.

        Those of frozen stages are float32 without graph; trained stages run in one batch, in the
        caller's precision and with graph. Raises ShapeError for other shapes and for N = 0.
        """
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[0] == 0:
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
            run = self._ready(x, needed)
            parts = x.split(_chunk(x))

            @torch.no_grad()  # which other threads know nothing of
            def ready(part: Tensor) -> list[Tensor]:
                return [out[: len(part)].float() for out in run(_filled_up(part))]

            alone = x.device.type != "cpu"
            pieces = [*map(ready, parts)] if alone else device.side_by_side(ready, parts)
            maps = zip(*pieces, strict=True)
            return {i: torch.cat(rows) for i, rows in zip(needed, maps, strict=True)}

    def _ready(self, x: Tensor, needed: tuple[int, ...]) -> Callable[[Tensor], tuple[Tensor, ...]]:
        """The fastest way at hand for chunks of pictures like these."""
        frozen = [m for i in range(needed[-1] + 1) for m in self.backbone.stage_modules(i)]
        used = [*self.backbone.parameters(recurse=False)]
        used += [p for m in frozen for p in m.parameters()]
        weights = [(p.data_ptr(), p._version) for p in used]
        source = (needed, x.device, weights)
        if self._eager is None or source != self._source:
            dtype = device.precision(x.device, self._precision)
            self._eager = _FrozenStages(self.backbone, needed, dtype)
            self._source = source
            self._fast.clear()
        size, batch = x.shape[-2:], _filled_up(x[: _chunk(x)])
        if size not in self._fast and self._compiling_pays(batch, self._eager):
            possible, why = device.can_compile(x.device)
            if possible:
                try:
                    self._fast[size] = _compile(self._eager, batch)
                except RuntimeError as error:
                    possible, why = False, f"compiling failed ({error})"
            if not possible:
                self._compiled = False
                self._why = why
                _log.warning("frozen stages run eagerly, at about half the speed: %s", why)
        fast = size in self._fast
        kind = str(self._eager.dtype).removeprefix("torch.")
        self.path = f"compiled, {kind}" if fast else f"eager, {kind}: {self._why}"
        return self._fast[size] if fast else self._eager

    def _compiling_pays(self, batch: Tensor, eager: _FrozenStages) -> bool:
        images, self._expected = self._expected, 0
        if self._compiled is not None or not images:
            return bool(self._compiled)
        eager(batch)  # the first run is slower than the others
        start = time.perf_counter()
        eager(batch)[-1].sum().item()  # waits for a GPU
        return (time.perf_counter() - start) * images / len(batch) >= _COMPILING_PAYS


def _chunk(x: Tensor) -> int:
    """How many pictures like these go through at once."""
    if x.device.type != "cpu":
        return _CHUNK_GPU
    return max(1, min(_CHUNK, _CHUNK_PIXELS // (x.shape[2] * x.shape[3])))


def _filled_up(x: Tensor) -> Tensor:
    """A chunk of pictures and black ones, float32, channels last; x itself where it is one."""
    count, last = _chunk(x), torch.channels_last
    if len(x) == count and x.dtype == torch.float32 and x.is_contiguous(memory_format=last):
        return x
    full = torch.empty((count, *x.shape[1:]), device=x.device, memory_format=last)
    full[: len(x)] = x
    full[len(x) :] = 0
    return full


class _FrozenStages(nn.Module):
    """A copy of a backbone's first stages for inference, that returns the needed outputs."""

    def __init__(self, backbone: Backbone, needed: Sequence[int], dtype: torch.dtype) -> None:
        super().__init__()
        self.needed = needed
        self.dtype = dtype
        self.stages = copy.deepcopy(backbone).eval().requires_grad_(False)
        for i in range(needed[-1] + 1, len(backbone.stage_names)):
            for module in self.stages.stage_modules(i):
                module.to("meta")  # weights that nobody runs
        _fold_norms(self.stages)
        if dtype != torch.float32:
            if backbone.exact_stages:
                _diffuse_rounding(self, dtype)
            for i in range(backbone.exact_stages, needed[-1] + 1):
                for module in self.stages.stage_modules(i):
                    module.to(dtype)
        for parameter in self.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs = []
        few = max(1, _SLICE_PIXELS // (x.shape[2] * x.shape[3]))
        parts = list(x.split(few if x.device.type == "cpu" else len(x)))
        for i, stride in enumerate(self.stages.stage_strides[: self.needed[-1] + 1]):
            if i == self.stages.exact_stages:
                parts = [part.to(self.dtype) for part in parts]
            if stride >= _SMALL and len(parts) > 1:
                parts = [torch.cat(parts)]
            parts = [self.stages.stage(i, part) for part in parts]
            if i in self.needed:
                outputs.append(torch.cat(parts) if len(parts) > 1 else parts[0])
        return tuple(outputs)


def _fold_norms(module: nn.Module) -> None:
    """Replaces every convolution and the BatchNorm right behind it by one convolution.

    Right behind by order of registration, which in all backbones here is the order of use.
    """
    before, conv = "", None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d):
            setattr(module, before, fuse_conv_bn_eval(conv, child))
            setattr(module, name, nn.Identity())
        _fold_norms(child)
        before, conv = name, child


def _diffuse_rounding(frozen: _FrozenStages, dtype: torch.dtype) -> None:
    """Rounds weights to what `dtype` can hold, so that the errors of a channel cancel on average.

    Each weight rounded on its own, their errors add up to a constant on the whole channel wherever
    the inputs are saturated (6, behind ReLU6), which the later stages amplify. So each weight takes
    over, within one unit of its last place, the error made so far (error diffusion). What an input
    is on average is measured on noise.
    """
    means: dict[nn.Conv2d, Tensor] = {}

    def measure(conv: nn.Conv2d, inputs: tuple[Tensor]) -> None:
        means[conv] = inputs[0].mean((0, 2, 3))

    convs = [
        module
        for i in range(frozen.stages.exact_stages, frozen.needed[-1] + 1)
        for part in frozen.stages.stage_modules(i)
        for module in part.modules()
        if isinstance(module, nn.Conv2d)
    ]
    hooks = [conv.register_forward_pre_hook(measure) for conv in convs]
    noise = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    noise = noise.to(next(frozen.parameters()).device)
    for i in range(frozen.needed[-1] + 1):
        noise = frozen.stages.stage(i, noise)
    for hook in hooks:
        hook.remove()
    for conv, mean in means.items():
        assert conv.bias is not None  # of the folded BatchNorm
        weight = conv.weight.flatten(1).clone()
        kernel = weight.shape[1] // conv.weight.shape[1]
        each = mean[:, None] if conv.groups > 1 else mean.repeat_interleave(kernel)[None]
        each = each.expand_as(weight)
        error = conv.bias.to(dtype).float() - conv.bias
        for j in range(weight.shape[1]):
            wish = torch.where(each[:, j].abs() > 1e-3, -error / each[:, j], 0)
            room = weight[:, j].abs() * torch.finfo(dtype).eps / 2
            rounded = (weight[:, j] + wish.clamp(-room, room)).to(dtype).float()
            error += (rounded - weight[:, j]) * each[:, j]
            weight[:, j] = rounded
        conv.weight.copy_(weight.view_as(conv.weight))


def _compile(stages: _FrozenStages, batch: Tensor) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Code for batches of this shape alone, with the weights as constants in their best layout.

    The graph goes to inductor directly: `torch.compile` would check at every call that it is still
    valid, and stops compiling after a handful of networks of one class.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of PyTorch, on its own modules
        import torch._inductor  # takes seconds, which most commands need not wait for

        graph = torch.export.export(stages, (batch,), strict=False).module()
        # Called from C++ the kernels, some hundred to a chunk, do not wait for Python's lock; for a
        # GPU, which does not wait for the calls, that would take CUDA's headers. They take as many
        # threads as the thread that calls them may.
        ways = {"freezing": True, "cpp_wrapper": batch.device.type == "cpu"}
        with torch._inductor.config.patch(ways | {"cpp.dynamic_threads": True}):
            run: Callable[[Tensor], tuple[Tensor, ...]] = torch._inductor.compile(graph, [batch])
    return run
