"""The errors a user can act on.

Every message is one sentence that says what is wrong, in which file, and what to do about it.
The command line prints the message alone; a batch job catches `MareyError` per item, goes on,
and lists at the end what it left out. Anything else that is raised is a bug in Marey.
"""

from __future__ import annotations


class MareyError(Exception):
    """Root of all errors that a user can act on."""


class VideoError(MareyError):
    """A video cannot be opened, decoded or written: empty, truncated, not a video, too short."""


class ManifestError(MareyError):
    """A corpus cannot be read: empty folder, missing column, label out of range, file not there."""


class ConfigError(MareyError):
    """Settings that contradict each other, or a recipe, backbone or method that does not exist."""


class CheckpointError(MareyError):
    """A run folder or a weights file is incomplete, foreign, unsafe, or from another version."""


class ShapeError(MareyError):
    """An array does not have the shape or type that the function documents."""


class TrainingError(MareyError):
    """Training cannot go on: non-finite loss, too few videos, no space left."""


class StorageError(MareyError):
    """A result cannot be written or read back: disk full, no permission, not a Marey file."""
