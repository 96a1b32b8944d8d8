"""Marey learns from unlabelled video where in an action every frame is, and what is moving."""

__version__ = "0.1.0"
