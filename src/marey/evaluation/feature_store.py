"""Features of labelled videos by a frozen backbone, for all runs that stand on the same one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from marey.embedding import extract
from marey.files import READING_ARRAYS, identity, replacing
from marey.methods.base import Method
from marey.models.weights import digest
from marey.types import VideoInfo


class FeatureStore:
    """A folder with the features of each video, written when they are first asked for.

    Args:
        folder: made where it does not exist. Files of other backbones may lie there too.
        method: whose features are never trained (`cacheable`).
        where: its device.
    """

    def __init__(self, folder: Path, method: Method, where: torch.device) -> None:
        self.folder, self.method, self.where = folder, method, where
        self.backbone = _fingerprint(method, where)

    def holds(self, info: VideoInfo) -> bool:
        """Whether the features of a video are there already. Raises VideoError."""
        return self._path(info).exists()

    def of(self, info: VideoInfo) -> Tensor:
        """(N, F) float16 features of all frames of a video.

        Raises VideoError where it cannot be decoded to its end, StorageError where there is no
        room.
        """
        path = self._path(info)
        if path.exists():
            with READING_ARRAYS:
                return torch.from_numpy(np.load(path))
        features = extract(self.method, info, self.where).half()
        with replacing(path) as draft, draft.open("wb") as file:
            np.save(file, features.numpy())
        return features

    def _path(self, info: VideoInfo) -> Path:
        return self.folder / f"{identity(info.path, self.backbone)}.npy"


def _fingerprint(method: Method, where: torch.device) -> str:
    """Names what `features` computes: the weights themselves, and how it looks at a frame."""
    encoder = method.recipe.encoder
    looks = [encoder.size, getattr(encoder, "pool", ""), method.crop, where.type]
    if motion := getattr(encoder, "motion", 0):
        looks.append(motion)
    if method.recipe.precision != "auto":
        looks.append(method.recipe.precision)
    weights = method.get_submodule("encoder.backbone").state_dict()
    return digest(weights, repr(tuple(looks)))
