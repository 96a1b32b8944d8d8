"""A method as two programs that run without Marey: pixels to features, features to embeddings."""

from __future__ import annotations

import copy
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from marey.errors import ConfigError
from marey.methods.base import Method
from marey.models.backbone import Backbone, freeze


class _Features(nn.Module):
    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, pixels: Tensor) -> Tensor:
        return self.method.features(pixels)


class _Encode(nn.Module):
    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, features: Tensor, times: Tensor) -> Tensor:
        return self.method.encode(features, times)


def pixel_shape(method: Method) -> tuple[int, int, int, int]:
    """(L, 3, H, W): what `Method.features` takes for each row."""
    size = method.recipe.encoder.size
    return type(method).units(method.recipe, 1).shape[1], 3, size, size


def programs(method: Method) -> dict[str, ExportedProgram]:
    """`features` and `encode` of a method by name, in float32, on the CPU.

    features: pixels (N, L, 3, H, W) to (N, F), for any N.
    encode: features (B, N, F) and times (B, N), int64, to (B, N, D), for any B and N.

    The backbone runs as it is, not as the fast copy that `marey embed` makes of its frozen stages,
    which may round to bfloat16.
    """
    plain = copy.deepcopy(method).cpu().float().eval()
    for module in plain.modules():
        if isinstance(module, Backbone):
            freeze(module, "none")
    plain.eval().requires_grad_(False)
    units, rows, videos = Dim("units"), Dim("rows"), Dim("videos")
    pixels = torch.zeros(2, *pixel_shape(method))
    # no two sizes alike, so that none is taken for another
    features = torch.zeros(2, 3, method.width)
    times = torch.arange(3)[None].repeat(2, 1)
    several = {0: videos, 1: rows}
    with _quiet():
        return {
            "features": torch.export.export(
                _Features(plain), (pixels,), dynamic_shapes=({0: units},), strict=False
            ),
            "encode": torch.export.export(
                _Encode(plain), (features, times), dynamic_shapes=(several, several), strict=False
            ),
        }


def write_torch(method: Method, folder: Path) -> None:
    """features.pt2 and encode.pt2, for `torch.export.load`."""
    for name, program in programs(method).items():
        with _quiet():
            torch.export.save(program, folder / f"{name}.pt2")


def write_onnx(method: Method, folder: Path) -> None:
    """features.onnx and encode.onnx. Raises ConfigError where the extra is not installed."""
    if not all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript")):
        raise ConfigError("The packages for ONNX are not installed; `pip install marey[onnx]`.")
    for name, program in programs(method).items():
        with _quiet():
            torch.onnx.export(
                program, (), folder / f"{name}.onnx", external_data=False, verbose=False
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what PyTorch's exporters say of their own modules, and of torchvision's absence."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for kind in (DeprecationWarning, FutureWarning, UserWarning):
                warnings.simplefilter("ignore", kind)
            yield
    finally:
        logger.setLevel(level)
