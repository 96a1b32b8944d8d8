"""Every setting of a training, as typed, frozen dataclasses. Nothing here imports torch.

The defaults are the papers' numbers; `marey.recipes` puts them together. A method's own settings
are one dataclass here (`CarlConfig`), whose `name` is the module under `marey.methods`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from marey.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16"]

C = TypeVar("C")


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of a view's look, the same for all its frames (CARL section 4.1)."""

    area: tuple[float, float] = (0.8, 1.0)
    """Share of the frame that the random crop keeps."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Aspect ratio of the crop."""
    flip: float = 0.5
    """Probability of mirroring left-right."""
    jitter: float = 0.8
    """Probability of colour jitter."""
    brightness: float = 0.8
    contrast: float = 0.8
    saturation: float = 0.8
    hue: float = 0.2
    """Largest hue shift, in turns of the colour circle."""
    blur: float = 0.5
    """Probability of Gaussian blur."""
    sigma: tuple[float, float] = (0.1, 2.0)
    """Standard deviation of the blur in pixels of a 224-pixel view; scales with the view."""
    grey: float = 0.2
    """Probability of dropping colour."""


@dataclass(frozen=True)
class EncoderConfig:
    """From frames to embeddings: backbone, pooling, temporal transformer (CARL figure 2)."""

    name: Literal["frame"] = "frame"
    backbone: Literal[
        "efficientnet_lite0",
        "resnet18",
        "resnet50",
        "vit_s16",
        "vit_b16",
        "dinov2_s14",
        "dinov2_b14",
    ] = "efficientnet_lite0"
    weights: str = "package"
    """`package` (ImageNet weights shipped with efficientnet_lite0), `random`, or a weights file: a
    path, `https://...#sha256=...`, or `hf://owner/repo/file` on the Hugging Face hub."""
    size: int = 224
    """Side of the square view, in pixels."""
    frozen: str = "all"
    """Last backbone stage that is not trained (`layer3` in the paper, `blocks9` of a vision
    transformer), `all` or `none`."""
    pool: Literal["max", "grid"] = "max"
    """`max` over space as published, or `grid`: a coarse grid of mid-level features."""
    motion: int = 0
    """Cells along each side of a grid of optical flow that is seen beside the picture, less the
    camera's motion; 0 = the picture alone. Needs a frozen backbone and stored features."""
    motion_alone: float = 0.0
    """Share of the views in training that show their motion and, for a picture, the mean of all
    pictures of the step, so that clothes and rooms are not relied on where motion tells as much.
    Without effect where `motion` is 0."""
    hidden: int = 512
    """Width of the linear layers before the transformer."""
    hidden_layers: int = 2
    """How many there are of them; the paper has two."""
    width: int = 256
    layers: int = 3
    heads: int = 8
    feedforward: int = 1024
    dropout: float = 0.1
    position: Literal["absolute", "rotary", "released"] = "absolute"
    """`absolute`: sinusoids stretched to the training length, as published. `rotary`: relative.
    `released`: as in the code of CARL's release, for networks trained with it."""
    dimension: int = 128
    """D, length of an embedding."""


@dataclass(frozen=True)
class ClipEncoderConfig:
    """From clips to embeddings: an R(2+1)D network, its features averaged over space and time."""

    name: Literal["clip"] = "clip"
    backbone: Literal["r2plus1d_50", "r2plus1d_18", "r2plus1d_small"] = "r2plus1d_50"
    weights: str = "random"
    """`random`, or a weights file (a path, `https://...#sha256=...` or `hf://owner/repo/file`): of
    R(2+1)D itself (such as a run's `model.safetensors`), or for `r2plus1d_50` of an ImageNet
    ResNet-50, which is inflated."""
    size: int = 224
    """Side of the square view, in pixels."""
    hidden: int = 2048
    """Width of the hidden layer of each head; the heads serve the losses only."""
    dimension: int = 128
    """Length of what the heads put out."""


@dataclass(frozen=True)
class CarlConfig:
    """CARL, Chen et al., CVPR 2022: sequence contrast against a Gaussian of time distance."""

    name: Literal["carl"] = "carl"
    frames: int = 80
    """T, frames of a view."""
    stretch: float = 1.5
    """A view's frames are drawn from a block of up to this many times T frames."""
    overlap: float = 0.2
    """Least overlap of the two blocks, as a share of T."""
    variance: float = 10.0
    """Variance of the Gaussian prior, in frames squared."""
    temperature: float = 0.1
    negatives: Literal["single_noself", "single", "batch_noself"] = "single_noself"
    """What a frame is contrasted with: the video's other view, both views, or the whole batch."""


@dataclass(frozen=True)
class MareyConfig:
    """Marey's own: sequence contrast within a video, and between videos along their alignment."""

    name: Literal["marey"] = "marey"
    frames: int = 40
    """T, frames of a view."""
    stretch: float = 1.5
    """A view's frames are drawn from a block of up to this many times T frames."""
    cut: float = 0.5
    """A block is at most a random share of the video, from this to 1: views may start late."""
    overlap: float = 0.2
    """Least overlap of the two blocks, as a share of T."""
    variance: float = 10.0
    """Variance of the Gaussian within a video, in frames squared."""
    temperature: float = 0.1
    between: float = 1.0
    """Weight of the contrast between videos of one action; 0 = none."""
    actions: float = 0.3
    """Weight of the contrast between videos of different actions, known ones; 0 = none."""
    width: float = 0.06
    """Standard deviation of the Gaussian around a frame's counterpart, in shares of a video."""
    clock: float = 1.0
    """How much the alignment of two videos trusts the share of each that has passed: the cost of
    matching the first frame of a video to the last, where opposite embeddings cost 2."""


@dataclass(frozen=True)
class MclConfig:
    """MCL, Li et al., ICCV 2021: contrast of clips, led by motion. Weights of 0 take parts out."""

    name: Literal["mcl"] = "mcl"
    length: int = 16
    """Frames of a clip."""
    stride: int = 2
    """Every how many frames of the video one belongs to the clip."""
    every: int = 16
    """Frames from the start of one row of an embedding to the start of the next."""
    focus_time: float = 0.7
    """Probability that clips are taken where there is much motion; 0 = anywhere."""
    focus_top: float = 0.5
    """Share of the possible starts that counts as much motion."""
    focus_space: bool = True
    """Whether crops have to keep in view what moves most."""
    engine: Literal["dis", "farneback", "tvl1", "difference"] = "dis"
    """How optical flow is computed; `difference` does without flow."""
    window: int = 8
    """Flow fields of a frame map (Kinetics: 4)."""
    spatiotemporal: float = 1.0
    """Weight of the alignment of gradient and motion, slice by slice."""
    spatial: float = 1.0
    """Weight of their alignment in space."""
    temporal: float = 1.0
    """Weight of their alignment in time."""
    warm_alignment: float = 2.0
    """Factor of all three while the learning rate warms up."""
    intra: float = 1.0
    """Weight of the contrast between clips of one video."""
    order: float = 1.0
    """Weight, at the end of the training, of telling which clip comes first; rises from 0."""
    momentum: float = 0.999
    """Share of the key network that each step keeps."""
    queue: int = 131_072
    """Keys of other videos that a query is contrasted with."""
    temperature: float = 0.1

    @property
    def span(self) -> int:
        """Frames of the video that a clip covers."""
        return self.length * self.stride

    @property
    def aligned(self) -> bool:
        """Whether the gradient is aligned with the motion at all."""
        return max(self.spatiotemporal, self.spatial, self.temporal) > 0


@dataclass(frozen=True)
class TccConfig:
    """TCC, Dwibedi et al., CVPR 2019: cycles through another video end where they began."""

    name: Literal["tcc"] = "tcc"
    frames: int = 20
    """T, frames of a view, from the whole video."""
    temperature: float = 0.1
    variance_weight: float = 0.001
    """Weight of the logarithm of the variance in the cycle-back regression (lambda)."""


@dataclass(frozen=True)
class TcnConfig:
    """TCN, Sermanet et al., ICRA 2018, from a single view: n-pairs of neighbouring frames."""

    name: Literal["tcn"] = "tcn"
    frames: int = 40
    """T, frames of a view, two for each pair."""
    window: int = 5
    """Frames between which a frame and its positive lie at most."""
    stretch: float = 3.0
    """The pairs are drawn from a block of up to this many times T frames."""
    regularisation: float = 0.002
    """Weight of the embeddings' squared length (lambda); a quarter of it counts."""


@dataclass(frozen=True)
class LavConfig:
    """LAV, Haresh et al., CVPR 2021: soft time warping, and frames far apart kept apart."""

    name: Literal["lav"] = "lav"
    frames: int = 20
    """T, frames of a view, from the whole video."""
    gamma: float = 0.1
    """Softness of the time warping."""
    alpha: float = 0.5
    """Weight of the regularisation."""
    sigma: float = 10.0
    """Frames up to which two frames of a video are drawn together, beyond which apart."""
    margin: float = 2.0
    """Squared distance at which frames are far enough apart."""


@dataclass(frozen=True)
class SalConfig:
    """SaL, Misra et al., ECCV 2016: are three frames in order?"""

    name: Literal["sal"] = "sal"
    frames: int = 20
    """T, frames of a view, from the whole video."""
    tuples: int = 8
    """Tuples of three frames per video."""
    ordered: float = 0.25
    """Share of tuples that are in order."""


BlockConfig = CarlConfig | MareyConfig | TcnConfig
"""Methods whose views are drawn from blocks of a video, of up to stretch * frames frames."""

FrameMethodConfig = CarlConfig | MareyConfig | TccConfig | TcnConfig | LavConfig | SalConfig
"""Methods that embed frames; each has `frames`, T of a view."""

ClipMethodConfig = MclConfig
"""Methods that embed clips."""


@dataclass(frozen=True)
class ClassifierConfig:
    """Fine-tuning of a clip network on labelled videos; `marey.finetuning` fills it in."""

    name: Literal["classifier"] = "classifier"
    base: ClipMethodConfig = field(default_factory=MclConfig)
    """What the network was trained with before, and how it takes its clips."""
    actions: tuple[str, ...] = ()
    """The names of the classes, in alphabetical order."""
    dropout: float = 0.5


MethodConfig = FrameMethodConfig | ClipMethodConfig | ClassifierConfig


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights are moved."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-4
    """Peak learning rate; falls to 0 along a cosine."""
    weight_decay: float = 1e-5
    momentum: float = 0.9
    """Of SGD."""
    warmup: float = 0.0
    """Share of the steps over which the learning rate rises from 0."""
    clip: float = 10.0
    """Largest norm of the gradient; 0 = any."""


@dataclass(frozen=True)
class DataConfig:
    """What a step is made of."""

    videos: int = 4
    """Videos at a time on each device."""
    accumulate: int = 1
    """So many times `videos` make up a step of the optimiser, for devices of little memory."""
    shortest: int = 1
    """Videos of fewer frames are left out."""
    together: int = 1
    """Videos of one action that a step takes together, where the actions are known (a column
    `action`, or one folder per action); divides `videos`."""
    steps: int = 1000
    """Optimiser steps; `epochs` passes over the videos instead, where that is not 0."""
    epochs: int = 0
    copies: int = 4
    """Augmented copies of every video's features, extracted once; 0 = augment at every step
    (needed where the backbone is trained, as that of clips always is)."""
    keep_frames: bool = False
    """Keep the decoded frames on the disk, 4 size^2 bytes each, instead of decoding them anew in
    every epoch: for many epochs on small videos."""
    workers: int = -1
    """Processes that decode, -1 = the number of cores less one."""

    def __post_init__(self) -> None:
        if self.together < 1 or self.videos % self.together:
            raise ConfigError(
                f"a step of {self.videos} videos cannot be made of runs of {self.together} videos "
                "of one action; let data.together divide data.videos."
            )


@dataclass(frozen=True)
class Recipe:
    """A whole training, without the videos."""

    method: MethodConfig = field(default_factory=CarlConfig)
    encoder: EncoderConfig | ClipEncoderConfig = field(default_factory=EncoderConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    seed: int = 0
    precision: Precision = "auto"
    """Of steps and of frozen stages; `auto`: bf16 where it pays, else fp32."""


def to_dict(config: Any) -> dict[str, Any]:
    """The config as plain JSON data."""
    return dataclasses.asdict(config)


def from_dict(kind: type[C], data: dict[str, Any]) -> C:
    """The config that `to_dict` wrote. Raises ConfigError for a field that does not exist here."""
    hints = typing.get_type_hints(kind)
    fields = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - fields)
    if unknown:
        raise ConfigError(
            f"{kind.__name__} has no setting {', '.join(unknown)}; "
            "was this run written by another version of Marey?"
        )
    return kind(**{name: _value(hints[name], value) for name, value in data.items()})


def _value(hint: Any, value: Any) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        if dataclasses.is_dataclass(option) and isinstance(value, dict):
            # several methods: the one whose name matches
            if len(options) > 1 and getattr(option, "name", None) != value.get("name"):
                continue
            return from_dict(typing.cast(type[Any], option), value)
    if len(options) > 1 and isinstance(value, dict):
        raise ConfigError(f"there is no method {value.get('name')!r} in this version of Marey.")
    return tuple(value) if isinstance(value, list) else value
