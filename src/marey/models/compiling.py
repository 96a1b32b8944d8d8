"""Frozen stages as programs of their own, for a shape: OpenVINO's on a CPU, inductor's on a GPU."""

from __future__ import annotations

import copy
import functools
import logging
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from marey import device
from marey.models import compiled_cache
from marey.models.frozen import FrozenStages

if TYPE_CHECKING:
    import openvino

_log = logging.getLogger(__name__)

Program = Callable[[Tensor], tuple[Tensor, ...]]

_DIFFERENCE = 0.1
"""Of a program's results from PyTorch's, by norm, at most: a few times what bfloat16 makes, and
far less than another network does."""


def compile_stages(stages: FrozenStages, batch: Tensor) -> Program:
    """A program for pictures of the size of these alone, with the weights as constants.

    On a CPU it takes any number of them, on all threads, on a GPU as many as these. What takes
    longest, tracing the network, is kept for other runs.
    Raises RuntimeError where it does not work, or gives something else than PyTorch.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of PyTorch, on its own modules
        warnings.simplefilter("ignore", FutureWarning)
        if batch.device.type != "cpu":
            return _checked(_inductor(stages, batch), stages, batch)
        folder = compiled_cache.place(stages, batch)
        if kept := compiled_cache.read(folder, _core()):
            try:
                return _checked(_OpenVINO(kept, stages, len(batch)), stages, batch)
            except RuntimeError as error:
                _log.info("what is kept in %s does not fit: %s", folder, error)
        graphs = _traced(stages, batch)
        program = _checked(_OpenVINO(graphs, stages, len(batch)), stages, batch)
        compiled_cache.keep(graphs, folder)
        return program


def _checked(program: Program, stages: FrozenStages, batch: Tensor) -> Program:
    """The program, unless it computes something else; hardware and compilers are many."""
    with torch.no_grad():
        wanted = stages(batch)
        with device.one_thread():  # as in most calls
            given = program(batch)
    for a, b in zip(given, wanted, strict=True):
        if not torch.dist(a.float(), b.float()) <= _DIFFERENCE * b.float().norm():
            raise RuntimeError("its results are not those of PyTorch")
    return program


def _inductor(stages: FrozenStages, batch: Tensor) -> Program:
    """The graph goes to inductor directly: `torch.compile` would check at every call that it is
    still valid, and stops compiling after a handful of networks of one class."""
    import torch._inductor  # takes seconds, which most commands need not wait for

    graph = torch.export.export(stages, (batch,), strict=False).module()
    with torch._inductor.config.patch(freezing=True):
        program: Program = torch._inductor.compile(graph, [batch])
    return program


class _OpenVINO:
    """Frozen stages in one OpenVINO program or two, since one computes in one precision.

    As many threads as there are take chunks of pictures side by side, each with programs of its
    own: they run in the thread that calls them, where a shared one would hand its work to others,
    and wait for them (`docs/log.md`). Maps are computed right where they shall lie.

    Args:
        graphs: as `_traced` gives them, for chunks of so many pictures.
    """

    def __init__(self, graphs: Sequence[openvino.Model], stages: FrozenStages, chunk: int) -> None:
        kinds = [kind for _, kind in _parts(stages)]
        self._models = list(zip(graphs, kinds, strict=True))
        *between, end = [graph.outputs for graph in graphs]
        kept = [output for outputs in between for output in outputs[:-1]] + end
        self._shapes = [tuple(output.shape) for output in kept]
        self._chunk = chunk
        self._free: dict[int, list[list[openvino.InferRequest]]] = defaultdict(list)

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        rows = _rows(x.float()).contiguous()
        maps = [torch.empty(len(x), *shape) for _, *shape in self._shapes]

        def run(chunk: slice) -> None:
            given, wanted = rows[chunk], [m[chunk] for m in maps]
            if missing := self._chunk - len(given):
                given = torch.cat([given, given.new_zeros(missing, *given.shape[1:])])
                full = [torch.empty(shape) for shape in self._shapes]
                self._infer(given, full)
                for some, all_ in zip(wanted, full, strict=True):
                    some.copy_(all_[: len(some)])
            else:
                self._infer(given, wanted)

        chunks = [slice(i, i + self._chunk) for i in range(0, len(x), self._chunk)]
        device.side_by_side(run, chunks)
        return tuple(_maps(m) for m in maps)

    def _infer(self, x: Tensor, maps: Sequence[Tensor]) -> None:
        """A chunk through all parts; what they keep is written into `maps`."""
        import openvino as ov

        threads = torch.get_num_threads()
        try:
            requests = self._free[threads].pop()
        except IndexError:  # all are at work
            requests = [self._request(*model, threads) for model in self._models]
        given, into = ov.Tensor(x.numpy(), shared_memory=True), iter(maps)
        for request in requests:
            outputs = len(request.model_outputs)
            request.set_input_tensor(given)
            for i in range(outputs if request is requests[-1] else outputs - 1):
                request.set_output_tensor(i, ov.Tensor(next(into).numpy(), shared_memory=True))
            request.infer()
            given = request.get_output_tensor(outputs - 1)
        self._free[threads].append(requests)

    def _request(self, model: openvino.Model, kind: str, threads: int) -> openvino.InferRequest:
        settings = {
            "INFERENCE_PRECISION_HINT": kind,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # decoders want the cores too
        }
        return _core().compile_model(model, "CPU", settings).create_infer_request()


class _Part(nn.Module):
    """Some of the stages, from rows to the rows of those needed; the first part to the next also.

    Args:
        dtype: of what goes from part to part.
    """

    def __init__(self, frozen: FrozenStages, numbers: range, dtype: torch.dtype) -> None:
        super().__init__()
        self.backbone = frozen.stages
        self.numbers, self.needed, self.dtype = numbers, frozen.needed, dtype
        self.ends = numbers.stop == frozen.count

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x, outputs = _maps(x.float()), []
        for i in self.numbers:
            x = self.backbone.stage(i, x)
            if i in self.needed:
                outputs.append(_rows(x))
        return tuple(outputs) if self.ends else (*outputs, _rows(x).to(self.dtype))


def _parts(stages: FrozenStages) -> list[tuple[range, str]]:
    """The stages of each program, and the precision that it computes in."""
    parts = [(range(stages.exact), "f32"), (range(stages.exact, stages.count), "bf16")]
    return [(numbers, kind) for numbers, kind in parts if numbers]


def _traced(stages: FrozenStages, batch: Tensor) -> list[openvino.Model]:
    """A graph for each part, for chunks of as many pictures as these."""
    whole = copy.deepcopy(stages).float()  # rounded as they are: so OpenVINO loses nothing
    x, graphs = _rows(batch), []
    for numbers, _ in _parts(stages):
        part = _Part(whole, numbers, stages.dtype)
        graphs.append(_converted(part, x))
        *_, x = part(x)
    return graphs


def _converted(part: _Part, x: Tensor) -> openvino.Model:
    """By OpenVINO's reader of PyTorch itself: `convert_model` would report on its use."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    elementary = torch.export.default_decompositions()
    elementary.pop(torch.ops.aten.scaled_dot_product_attention.default)  # faster as a whole
    graph = torch.export.export(part, (x,), strict=False).run_decompositions(elementary)
    reader = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchFXPythonDecoder(graph.module(), dynamic_shapes=False)
    return reader.convert(reader.load(decoder))


@functools.cache
def _core() -> openvino.Core:
    """One for the process, kept to its end.

    A core gives the thread that makes it a stack for signals, and takes it away when it goes: with
    one core after the other the next signal, be it Ctrl-C, would find a stack that is no more.
    """
    return _openvino().Core()


def _openvino() -> ModuleType:
    """OpenVINO, without a word to its makers, to whom its import is reported otherwise.

    What reports it is a package of its own, without which OpenVINO works as well.
    """
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    unasked = "openvino_telemetry" not in modules
    if unasked:
        modules["openvino_telemetry"] = None  # whoever imports it finds it not installed
    try:
        import openvino
    finally:
        if unasked:
            del modules["openvino_telemetry"]
    return cast("ModuleType", openvino)


def _rows(x: Tensor) -> Tensor:
    """(..., H, W, C), as it lies in memory, of (..., C, H, W); vectors as they are."""
    return x.movedim(-3, -1) if x.ndim >= 4 else x


def _maps(x: Tensor) -> Tensor:
    """The reverse of `_rows`."""
    return x.movedim(-1, -3) if x.ndim >= 4 else x
