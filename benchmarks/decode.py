"""Decoding per codec and size, whole files and few frames, against the usual way.

python benchmarks/decode.py
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

import harness
from baselines.decode_all import decode_all
from marey.bench import speed_pictures
from marey.bench.speed_cases import Case, Desk, Measured, Row
from marey.video import read

CODECS = {
    "HEVC": ("libx265", {"preset": "veryfast", "x265-params": "log-level=none"}, "mp4"),
    "VP9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, "mkv"),
    "AV1": ("libsvtav1", {"preset": "12"}, "mp4"),
    "MPEG-4": ("mpeg4", {}, "avi"),
    "ProRes": ("prores_ks", {}, "mov"),
    "JPEG": ("mjpeg", {}, "mov"),
}
"""Of each codec an encoder, its options and a container; H.264 is the package's own."""

FORMATS = {"prores_ks": "yuv422p10le", "mjpeg": "yuvj420p"}


def cases(desk: Desk) -> Measured:
    for case in speed_pictures.decode(desk):
        yield beside(case)
    source = read(desk.video(360, 640, 100)).pixels
    for name, (encoder, options, container) in CODECS.items():
        path = desk.folder / f"{encoder}.{container}"
        try:
            encode(path, source, encoder, options)
        except av.codec.codec.UnknownCodecError:
            note = f"not measured: PyAV's FFmpeg has no encoder {encoder} to make a video with"
            yield Row("decode", f"{name} 640x360", "frames/s", note=note)
            continue
        yield beside(speed_pictures.whole(desk, path, f"{name} 640x360"))
        yield speed_pictures.few(desk, path, f"{name} 640x360")


def beside(case: Case) -> Case:
    """The usual way added to whole files; for few frames the package's case has it already."""
    if not isinstance(case.inputs, Path):
        return case
    return case.beside("the usual way: all of it as floats", lambda: decode_all(case.inputs))


def encode(
    path: Path, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], encoder: str, options: dict
) -> None:
    """Writes frames (T, H, W, 3), 25 a second, a key frame every 60. Raises UnknownCodecError."""
    av.codec.Codec(encoder, "w")
    with av.open(str(path), "w") as out:
        track = out.add_stream(encoder, rate=25, options=options)
        track.height, track.width = pixels.shape[1:3]
        track.pix_fmt = FORMATS.get(encoder, "yuv420p")
        track.gop_size = 60
        for frame in pixels:
            picture = av.VideoFrame.from_ndarray(frame).reformat(format=track.pix_fmt)
            out.mux(track.encode(picture))
        out.mux(track.encode())


if __name__ == "__main__":
    harness.main(__doc__, {"decode": cases})
