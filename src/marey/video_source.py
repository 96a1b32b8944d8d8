"""An open video file: where its frames are, and how to get at them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, cast

import av
import numpy as np
from av.buffer import Buffer
from av.codec.context import ThreadType
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from marey.errors import VideoError
from marey.types import F64, I64, VideoInfo

_MP4, _MATROSKA = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"
_ONE_FRAME_A_PACKET = {"h264", "hevc", "vp9", "av1", "libdav1d", "prores", "mjpeg"}

# Pixels of a frame from which decoding on several threads pays for starting them.
_THREADS_FROM = 400_000

# Frames that a seek must save: it throws away what the decoder has in hand.
_SEEK_FROM = 8

# Places by which frames of H.264 and HEVC may leave the decoder out of order at most.
_REORDER = 16


@dataclass(frozen=True, slots=True)
class Table(VideoInfo):
    """What `probe` really returns: with it, `read` need not look for the frames again.

    turn: (a, b, c, d), each -1, 0 or 1: the stored pixel (x, y) is shown at (ax + cy, bx + dy).
    ticks: (N,) presentation times as the file has them; frame numbers where `counted`.
    counted: whether frames are known only by counting them from the start.
    keys: (K,) numbers of the frames at which decoding can start, the first of them 0.
    lead: ticks by which decoding runs ahead of display.
    """

    turn: tuple[int, int, int, int]
    ticks: I64
    counted: bool
    keys: I64
    lead: int


class _Packet(NamedTuple):
    pts: int | None
    dts: int | None
    key: bool
    discard: bool
    """Decoded, but outside what the file's edit list shows."""


class Source:
    """A file and its first video track, open within a `with` block.

    Raises VideoError for a file that is missing, empty, not a video, or without a video track.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.container.close()

    def _open(self) -> None:
        try:
            # Absolute, so that no name is taken for an address ("a:b.mp4").
            self.container = av.open(str(self.path.absolute()), metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise VideoError(_reason(self.path, error)) from error
        tracks = [
            track
            for track in self.container.streams.video
            if track.codec_context and not track.disposition & Disposition.attached_pic
        ]
        if not tracks:
            self.container.close()
            raise VideoError(
                f"{self.path} has no video track that can be decoded; "
                "convert it to H.264, or leave it out."
            )
        self.track = tracks[0]
        context = self.track.codec_context
        # In a data worker the other cores belong to the other workers.
        large = context.width * context.height >= _THREADS_FROM
        threads = large and multiprocessing.parent_process() is None
        context.thread_type = ThreadType.AUTO
        context.thread_count = 0 if threads else 1

    def table(self) -> Table:
        """Where and when every frame is. Raises VideoError where the file is cut off."""
        packets, first = self._packets()
        shown = [p for p in packets if not p.discard]
        times = [p.pts for p in shown if p.pts is not None]
        keys, lead = np.zeros(1, np.int64), 0
        counted = not self._announces(packets, times, len(shown))
        if counted:
            seconds, first = self._decode_times()
            ticks = np.arange(len(seconds))
        else:
            ticks = np.sort(np.array(times, np.int64))
            seconds = (ticks - ticks[0]) * self._tick
            lead = 0 if packets[0].dts is None else (packets[0].pts or 0) - packets[0].dts
            starts = [p.pts for p in shown if p.key]
            keys = np.union1d(keys, np.searchsorted(ticks, np.array(starts, np.int64)))
        if first is None:
            raise VideoError(f"no frame of {self.path} can be decoded; replace it or leave it out.")
        turn = _turn(first)
        height, width = (first.height, first.width) if turn[0] else (first.width, first.height)
        return Table(self.path, height, width, seconds, turn, ticks, counted, keys, lead)

    def frames(self, table: Table, wanted: I64) -> Iterator[tuple[int, VideoFrame]]:
        """The frames `wanted` (sorted, each once), each with its place in `wanted`.

        They come in order, or nearly: some decoders hand out frames early.
        Raises VideoError, at the end, where some of them cannot be decoded.
        """
        missing = dict(zip(table.ticks[wanted].tolist(), range(len(wanted)), strict=True))
        runs = _runs(table.keys, wanted)
        if any(start for start, _ in runs):
            # Some files call a frame a keyframe that decoding cannot start at (intra refresh):
            # what a seek did not bring is looked for from the start.
            runs.append((0, wanted))
        for start, numbers in runs:
            todo = missing.keys() & set(table.ticks[numbers].tolist())
            end = table.ticks[min(int(numbers[-1]) + _REORDER, table.frames - 1)]
            for tick, frame in self._decode_from(table, start) if todo else ():
                if tick in todo:
                    todo.remove(tick)
                    yield missing.pop(tick), frame
                if not todo or tick > end:
                    break
        if missing:
            raise VideoError(
                f"{self.path} is damaged: only {len(wanted) - len(missing)} of {len(wanted)} "
                "frames could be decoded; copy or download it again, or re-encode what there is."
            )

    @property
    def _indexed(self) -> bool:
        return self.container.format.name in (_MP4, _MATROSKA)

    @property
    def _tick(self) -> float:
        """Length of a tick in seconds."""
        return float(self.track.time_base or 0)

    def _packets(self) -> tuple[list[_Packet], VideoFrame | None]:
        """All packets, and the first frame that they decode to."""
        packets: list[_Packet] = []
        first: VideoFrame | None = None
        count = 0
        torn = broken = False
        try:
            for packet in self.container.demux(self.track):
                if packet.size:
                    first = first or self._decode_alone(packet)
                    packets.append(
                        _Packet(packet.pts, packet.dts, packet.is_keyframe, packet.is_discard)
                    )
                    torn = packet.is_corrupt
                # A packet without data stands for a dropped frame; without data and time, for
                # the end of the file.
                count += packet.size > 0 or packet.dts is not None
        except av.FFmpegError:
            broken = True
        promised = len(self.track.index_entries) if self._indexed else 0
        if torn or broken or count < promised:
            whole = f" of its {promised}" if promised else ""
            raise VideoError(
                f"{self.path} is cut off: it holds only {count - torn}{whole} frames; "
                "copy or download it again, or re-encode what there is."
            )
        return packets, first

    def _announces(self, packets: list[_Packet], times: list[int], shown: int) -> bool:
        """Whether decoding would give exactly the frames that the packets announce."""
        return (
            self._indexed
            and self.track.codec_context.name in _ONE_FRAME_A_PACKET
            and 0 < shown == len(set(times))
            # What is shown before the first keyframe may lack what it was predicted from.
            and packets[0].key
            and packets[0].pts is not None
            and packets[0].pts <= min(times)
        )

    def _decode_times(self) -> tuple[F64, VideoFrame | None]:
        """Times of all frames in seconds, and the first frame, by decoding everything."""
        frames: list[tuple[int | None, int | None]] = []
        first: VideoFrame | None = None
        for frame in self._decode_from_start():
            first = first or frame
            frames.append((frame.pts, frame.dts))
        for ticks in zip(*frames, strict=True):
            if None not in ticks and (np.diff(ticks) > 0).all():
                return (np.array(ticks) - ticks[0]) * self._tick, first
        rate = self.track.average_rate or self.track.guessed_rate or 25
        return np.arange(len(frames)) / float(rate), first

    def _decode_from(self, table: Table, start: int) -> Iterator[tuple[int, VideoFrame]]:
        """Decode on from keyframe number `start`; frames with their ticks."""
        if table.counted:
            yield from enumerate(self._decode_from_start())
            return
        # Later by the lead, as MP4 takes it off before it looks among decoding times.
        tick = int(table.ticks[start]) + (table.lead if start else 0)
        with suppress(av.FFmpegError):  # left where it is, a sought frame is missed
            self.container.seek(tick, stream=self.track)
        for frame in self._decode_all():
            if frame.pts is not None:
                yield frame.pts, frame

    def _decode_from_start(self) -> Iterator[VideoFrame]:
        self.container.close()
        self._open()
        return self._decode_all()

    def _decode_all(self) -> Iterator[VideoFrame]:
        with suppress(av.FFmpegError):  # a file that cannot be read on; its frames are missed
            for packet in self.container.demux(self.track):
                if packet.size:
                    yield from self._decode(packet)
        yield from self._decode(None)

    def _decode_alone(self, packet: Packet[VideoStream]) -> VideoFrame | None:
        """The frame of a packet that needs no other, without the wait for those that follow it."""
        frames = self._decode(packet) + self._decode(None)
        self.track.codec_context.flush_buffers()
        return frames[0] if frames else None

    def _decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        try:
            return self.track.decode(packet)
        except av.FFmpegError:
            # A damaged packet yields no frame; whoever wants that frame finds it missing.
            return []


def _turn(frame: VideoFrame) -> tuple[int, int, int, int]:
    """Where the file's display matrix sends the axes, to the nearest right angle."""
    side_data = cast(Mapping[str, Buffer], frame.side_data)
    if "DISPLAYMATRIX" not in side_data:
        return 1, 0, 0, 1
    matrix = np.frombuffer(bytes(side_data["DISPLAYMATRIX"]), np.int32)
    a, b, _, c, d = (round(int(v) / 65536) for v in matrix[:5])
    if abs(a * d) == 1:
        return a, 0, 0, d
    return (0, b, c, 0) if abs(b * c) == 1 else (1, 0, 0, 1)


def _runs(keys: I64, wanted: I64) -> list[tuple[int, I64]]:
    """Cut sorted frame numbers into runs, each with the number of the keyframe to start at.

    A new run starts at a keyframe that lies so far ahead that seeking to it pays.
    """
    key = keys[np.searchsorted(keys, wanted, side="right") - 1]
    skipped = key - np.concatenate([[-1], wanted[:-1]]) - 1
    cuts = np.flatnonzero(skipped >= _SEEK_FROM)
    runs = zip(np.split(key, cuts), np.split(wanted, cuts), strict=True)
    return [(int(starts[0]), numbers) for starts, numbers in runs if len(numbers)]


def _reason(path: Path, error: Exception) -> str:
    """Why a file cannot be opened, and what to do, in one sentence."""
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist; check the name and the folder."
    if isinstance(error, IsADirectoryError):
        return f"{path} is a folder, not a video; name one of the files in it."
    if isinstance(error, OSError):
        return f"{path} cannot be opened ({error.strerror}); check that you may read it."
    with path.open("rb") as file:
        head = file.read(12)
    if not head:
        return f"{path} is empty (0 bytes); copy or download it again."
    if head[4:8] == b"ftyp":
        return (
            f"{path} was cut off before its index (moov) was written, so nothing in it can be "
            "found; copy or download it again."
        )
    return f"{path} is not a video that can be read; convert it to MP4, or leave it out."
