"""What the published networks put out, by the code of torchvision and timm: how it was computed.

    pip install torchvision timm
    python tests/reference_outputs.py

writes `reference_outputs.json` beside this file: of every output some numbers, and the versions
that they are of. Neither package is needed to compare with them, and none of their weights: every
network gets weights drawn by the names of its parameters, so that one whose names, shapes or layers
are others puts out other numbers.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FILE = Path(__file__).with_suffix(".json")
NUMBERS = 16
"""Of each output, spread over it."""


def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    """Weights for the parameter of that name, of a size that keeps signals alive; or inputs."""
    noise = 2 * np.random.default_rng(zlib.crc32(name.encode())).random(shape) - 1
    if name.endswith("running_var") or (len(shape) == 1 and name.endswith(("weight", "gamma"))):
        noise = 1 + 0.3 * noise
    elif len(shape) == 1:
        noise = 0.1 * noise
    elif name not in ("cls_token", "pos_embed", "pictures", "clips"):
        noise = noise * (6 / np.prod(shape[1:])) ** 0.5
    return torch.from_numpy(noise).float()


def fill(network: nn.Module) -> None:
    """Gives the network the weights of its names, and puts it into evaluation mode."""
    state = {
        name: value if name.endswith("num_batches_tracked") else drawn(name, tuple(value.shape))
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    network.eval()


def some(output: Tensor) -> list[float]:
    """The numbers that are kept of an output."""
    flat = output.flatten()
    at = torch.linspace(0, len(flat) - 1, NUMBERS).long()
    return [round(value, 5) for value in flat[at].tolist()]


def main() -> None:
    import timm
    import torchvision
    from torchvision.models import resnet18, resnet50
    from torchvision.models.video import r2plus1d_18

    kept: dict[str, Any] = {"torchvision": torchvision.__version__, "timm": timm.__version__}
    with torch.no_grad():
        for make in (resnet18, resnet50):
            network = make(num_classes=1)
            fill(network)
            x = drawn("pictures", (2, 3, 64, 96))
            x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
            outputs = [x]
            for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
                outputs.append(layer(outputs[-1]))
            kept[make.__name__] = [some(x) for x in outputs]
        network = r2plus1d_18(num_classes=1)
        fill(network)
        x = network.stem(drawn("clips", (1, 3, 8, 48, 64)))
        for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
            x = layer(x)
        kept["r2plus1d_18"] = [some(x)]
        for name, theirs, side in (
            ("vit_s16", "vit_small_patch16_224", 224),
            ("dinov2_s14", "vit_small_patch14_dinov2", 112),
        ):
            network = timm.create_model(theirs, num_classes=0, img_size=side)
            fill(network)
            maps = network.forward_intermediates(
                drawn("pictures", (1, 3, side, side)),
                indices=[2, 5, 8, 11],
                norm=True,
                intermediates_only=True,
            )
            kept[name] = [some(x) for x in maps]
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in kept.items())
    FILE.write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
