"""What is installed and which fast paths are on: the first thing to look at when it is slow."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil

from marey import __version__, device

PACKAGES = ("torch", "av", "opencv-python-headless", "numpy", "scikit-learn", "pyarrow", "tyro")


def doctor() -> dict[str, str]:
    """Facts about this installation and machine, by name, ready to print or to paste."""
    facts = {
        "marey": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
    }
    for name in PACKAGES:
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = "not installed"
    facts |= {name: str(value) for name, value in device.describe().items()}
    usage = shutil.disk_usage(".")
    facts["disk here"] = f"{usage.free / 1e9:.0f} GB free of {usage.total / 1e9:.0f}"
    return facts
