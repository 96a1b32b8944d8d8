"""Frames and their numbers, from files of every kind; each frame carries its number as stripes."""

from __future__ import annotations

import os
import pickle
import resource
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given, settings
from hypothesis import strategies as st

from marey.errors import MareyError, ShapeError, StorageError, VideoError
from marey.manifest import Manifest
from marey.types import U8, VideoInfo
from marey.video import VideoWriter, probe, read, stream, write
from marey.video_source import Source

BITS, COUNT = 8, 60


def stripes(number: int, height: int = 48, width: int = 96) -> U8:
    """A frame that shows its number in black and white, under a band of changing colour."""
    bits = (number >> np.arange(BITS) & 1).astype(np.uint8) * 255
    frame = np.empty((height, width, 3), np.uint8)
    frame[:] = np.repeat(bits, -(-width // BITS))[:width, None]
    frame[: height // 3] = np.array([37, 59, 83]) * number % 256
    return frame


def numbers(pixels: U8) -> list[int]:
    """The numbers that frames (T, H, W, 3) show, at any size."""
    height, width = pixels.shape[1:3]
    middles = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    bits = pixels[:, height // 2 :, middles].mean((1, 3)) > 128
    return [int(n) for n in (bits << np.arange(BITS)).sum(1)]


@dataclass(frozen=True)
class Film:
    """How to encode COUNT numbered frames; ticks are their times, in units of `base`."""

    suffix: str = ".mp4"
    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=dict)
    container: dict[str, str] = field(default_factory=dict)
    ticks: Sequence[int] = range(COUNT)
    base: Fraction = Fraction(1, 25)
    pixels: str = "yuv420p"
    size: tuple[int, int] = (48, 96)
    b_frames: int | None = None
    first: int = 0
    """The first number that is shown."""
    tolerance: float = 1e-6
    """Of the times, in seconds: the container may round them."""

    def make(self, path: Path) -> Path:
        with av.open(str(path), "w", container_options=self.container) as container:
            track = container.add_stream(self.codec, rate=25, options=self.options)
            context = track.codec_context
            context.height, context.width = self.size
            context.pix_fmt, context.time_base = self.pixels, self.base
            if self.b_frames is not None:
                context.max_b_frames = self.b_frames
            for number, tick in enumerate(self.ticks):
                frame = av.VideoFrame.from_ndarray(stripes(number, *self.size))
                frame.pts, frame.time_base = tick, self.base
                container.mux(track.encode(frame))
            container.mux(track.encode())
        return path


SPARSE = {"x264-params": "bframes=3:b-adapt=0:keyint=25:min-keyint=25:scenecut=0"}
UNEVEN = np.cumsum(np.random.default_rng(0).integers(500, 9000, COUNT)).tolist()
VARIABLE = Film(options=SPARSE, ticks=UNEVEN, base=Fraction(1, 90_000))
FILMS = {
    "plain": Film(options=SPARSE),
    "index in front": Film(options=SPARSE, container={"movflags": "faststart"}),
    "variable rate": VARIABLE,
    "variable rate mkv": Film(
        ".mkv", options=SPARSE, ticks=UNEVEN, base=Fraction(1, 90_000), tolerance=2e-3
    ),
    "late start": Film(options=SPARSE, ticks=range(50, 50 + COUNT)),
    "edit list": Film(
        options=SPARSE,
        ticks=range(-10, COUNT - 10),
        container={"avoid_negative_ts": "disabled"},
        first=10,
    ),
    "fragments": Film(options=SPARSE, container={"movflags": "frag_keyframe+empty_moov"}),
    "open groups": Film(
        options={"x264-params": "open-gop=1:bframes=3:b-adapt=0:keyint=20:scenecut=0"}
    ),
    "short groups": Film(options={"x264-params": "bframes=2:b-adapt=0:keyint=3:min-keyint=1"}),
    "keyframes that are none": Film(options={"x264-params": "intra-refresh=1:keyint=20"}),
    "odd size": Film(options=SPARSE, pixels="yuv444p", size=(47, 97)),
    "ten bits": Film(options=SPARSE, pixels="yuv420p10le"),
    "hevc": Film(
        codec="libx265", options={"x265-params": "log-level=none:keyint=25:open-gop=1:bframes=4"}
    ),
    "vp9": Film(".webm", "libvpx-vp9", {"cpu-used": "8", "g": "25"}, tolerance=2e-3),
    "mpeg4": Film(".avi", "mpeg4", {"q": "2"}, b_frames=2),
    "h264 without times": Film(".avi", options=SPARSE),
    "raw": Film(".h264", options=SPARSE),
    "transport stream": Film(".ts", options=SPARSE, tolerance=2e-5),
    "gif": Film(".gif", "gif", pixels="rgb8"),
}


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("films")
    return {name: film.make(folder / f"{name}{film.suffix}") for name, film in FILMS.items()}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of frames of every packet that is decoded."""
    counts: list[int] = []
    decode = Source._decode

    def counting(self: Source, packet: Any) -> Any:
        frames = decode(self, packet)
        counts.append(len(frames))
        return frames

    monkeypatch.setattr(Source, "_decode", counting)
    return counts


def refused(path: str | Path, *words: str) -> None:
    """Probing and reading fail alike, in one sentence that names the file."""
    for ask in (probe, read, lambda path: next(stream(path))):
        with pytest.raises(VideoError) as caught:
            ask(path)
        message = str(caught.value)
        assert str(path) in message
        assert [word for word in words if word not in message] == [], message
        assert "\n" not in message


@pytest.mark.parametrize("name", FILMS)
def test_every_frame_has_its_number_and_time(films: dict[str, Path], name: str) -> None:
    film, info = FILMS[name], probe(films[name])
    want = list(range(film.first, COUNT))
    assert (info.height, info.width) == film.size
    times = np.array(film.ticks, np.float64)[film.first :] * float(film.base)
    np.testing.assert_allclose(info.seconds, times - times[0], atol=film.tolerance)
    assert info.seconds[0] == 0
    frames = read(films[name])
    assert numbers(frames.pixels) == want
    assert frames.index.tolist() == list(range(len(want)))
    np.testing.assert_array_equal(frames.seconds, info.seconds)
    assert frames.pixels.flags.c_contiguous


@pytest.mark.parametrize("name", FILMS)
def test_chosen_frames_are_the_same_frames(films: dict[str, Path], name: str) -> None:
    whole, info = read(films[name]).pixels, probe(films[name])
    last = info.frames - 1
    for index in ([last], [last, 0, last, 3], [26], [25, 24], list(range(30, last, 4)), []):
        for known in (info, None):
            frames = read(films[name], index, info=known)
            np.testing.assert_array_equal(frames.pixels, whole[index])
            assert frames.index.tolist() == index
            np.testing.assert_array_equal(frames.seconds, info.seconds[index])


@pytest.mark.parametrize("name", ["plain", "open groups", "hevc"])
@pytest.mark.parametrize("left_out", [8, 30])
def test_a_video_may_start_anywhere(
    films: dict[str, Path], tmp_path: Path, name: str, left_out: int
) -> None:
    path = tmp_path / "late.mp4"
    with av.open(str(films[name])) as source, av.open(str(path), "w") as target:
        track = target.add_stream_from_template(source.streams.video[0])
        for packet in list(source.demux(video=0))[left_out:-1]:
            packet.stream = track
            target.mux(packet)
    info, frames = probe(path), read(path)
    shown = numbers(frames.pixels)
    assert len(shown) == info.frames
    assert left_out < shown[0] <= 50
    assert shown == list(range(shown[0], COUNT))
    np.testing.assert_array_equal(read(path, [5, 3], info=info).pixels, frames.pixels[[5, 3]])


@settings(deadline=None, max_examples=40)
@given(
    index=st.lists(st.integers(0, COUNT - 1), max_size=12), name=st.sampled_from(list(FILMS)[:6])
)
def test_any_index_reads_rows_of_the_whole(
    films: dict[str, Path], index: list[int], name: str
) -> None:
    index = [i % (COUNT - FILMS[name].first) for i in index]
    frames = read(films[name], np.array(index, np.int64))
    np.testing.assert_array_equal(frames.pixels, read(films[name]).pixels[index])


@pytest.mark.parametrize("name", ["variable rate", "vp9", "h264 without times", "edit list"])
@pytest.mark.parametrize("chunk", [1, 7, COUNT, 1000])
def test_a_stream_is_the_whole_in_pieces(films: dict[str, Path], name: str, chunk: int) -> None:
    whole = read(films[name], size=24)
    pieces = list(stream(films[name], size=24, chunk=chunk))
    assert {len(piece) for piece in pieces[:-1]} <= {chunk}
    for attribute in ("pixels", "index", "seconds"):
        joined = np.concatenate([getattr(piece, attribute) for piece in pieces])
        np.testing.assert_array_equal(joined, getattr(whole, attribute))


@pytest.mark.parametrize("name", ["plain", "variable rate", "variable rate mkv", "hevc"])
def test_only_what_is_needed_is_decoded(
    films: dict[str, Path], name: str, decoded: list[int]
) -> None:
    info = probe(films[name])
    assert sum(decoded) <= 1
    for index, most in (([55], 10), ([2, 28, 52], 14), ([0, 1], 2), ([5, 5, 5], 6), ([], 0)):
        decoded.clear()
        read(films[name], index, info=info)
        assert sum(decoded) <= most, index
    decoded.clear()
    read(films[name], info=info)
    assert sum(decoded) == COUNT


def test_large_frames_decode_alike_on_many_threads(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    write(path, np.stack([stripes(i, 640, 640) for i in range(70)]), 25)
    whole = read(path)
    assert numbers(whole.pixels) == list(range(70))
    for index in ([69, 1], [61], [3, 30, 66]):
        np.testing.assert_array_equal(read(path, index).pixels, whole.pixels[index])


@pytest.mark.parametrize(
    ("matrix", "show"),
    [
        ((1, 0, 0, 1), lambda frame: frame),
        ((0, 1, -1, 0), lambda frame: np.rot90(frame, -1)),  # a telephone held upright
        ((-1, 0, 0, -1), lambda frame: np.rot90(frame, 2)),
        ((0, -1, 1, 0), lambda frame: np.rot90(frame, 1)),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda frame: frame.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda frame: np.rot90(frame, 2).transpose(1, 0, 2)),
        ((0, 0, 0, 0), lambda frame: frame),
    ],
)
def test_frames_stand_upright(
    films: dict[str, Path], tmp_path: Path, matrix: tuple[int, ...], show: Callable[[U8], U8]
) -> None:
    path = tmp_path / "turned.mp4"
    data = bytearray(films["plain"].read_bytes())
    start = data.index(b"tkhd") + 44  # where ISO 14496-12 has the matrix of a track
    a, b, c, d = (65536 * value for value in matrix)
    struct.pack_into(">9i", data, start, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    flat = read(films["plain"], [0, 37]).pixels
    want = np.stack([show(frame) for frame in flat])
    info = probe(path)
    assert (info.height, info.width) == want.shape[1:3]
    np.testing.assert_array_equal(read(path, [0, 37]).pixels, want)
    assert read(path, [5], size=(20, 30)).pixels.shape == (1, 20, 30, 3)
    small = read(path, [5], size=24).pixels
    assert small.shape == (1, *(np.array(want.shape[1:3]) // 2), 3)
    np.testing.assert_array_equal(small[0], show(read(films["plain"], [5], size=24).pixels[0]))


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        (None, (48, 96)),
        (24, (24, 48)),
        (7, (7, 14)),
        (48, (48, 96)),
        (49, (48, 96)),
        (1, (1, 2)),
        ((10, 11), (10, 11)),
        ((60, 200), (60, 200)),
    ],
)
def test_size(films: dict[str, Path], size: Any, shape: tuple[int, int]) -> None:
    pixels = read(films["plain"], [3, 9], size=size).pixels
    assert pixels.shape == (2, *shape, 3)
    if min(shape) >= 10:
        assert numbers(pixels) == [3, 9]


def test_resizing_averages(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 120, 160, 1), np.uint8)
    path = tmp_path / "noise.mp4"
    write(path, noise.repeat(3, axis=3), 25)
    full = read(path).pixels[0]
    want = cv2.resize(full, (40, 30), interpolation=cv2.INTER_AREA).astype(float)
    error = np.abs(read(path, size=30).pixels[0] - want).mean()
    assert error < 0.6 * np.abs(want - want.mean()).mean()


def test_probing_agrees_with_decoding_everything(films: dict[str, Path]) -> None:
    for name in ("plain", "variable rate", "edit list", "open groups", "hevc", "vp9", "fragments"):
        with av.open(str(films[name])) as container:
            track = container.streams.video[0]
            times = [frame.pts * track.time_base for frame in container.decode(track)]
        want = [float(time - times[0]) for time in times]
        np.testing.assert_allclose(probe(films[name]).seconds, want, atol=1e-9)


def test_reference_videos_have_the_frames_that_their_tables_say(shared: Path) -> None:
    for folder in sorted((shared / "data").iterdir()):
        if (folder / "labels.csv").exists():
            for entry in list(Manifest.read(folder / "labels.csv"))[::30][:8]:
                assert probe(entry.path).frames == entry.frames


NAMES = """a b.mp4|ünï 动.mp4|it's "so".mp4|-y.mp4|#1?.mp4|%03d.mp4|a:b.mp4|http:x.mp4|no ending
[1]{2}*.MP4|\udcff.mp4"""


@pytest.mark.parametrize("name", NAMES.replace("\n", "|").split("|"))
def test_any_name_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write(name, np.stack([stripes(i) for i in range(9)]), 25)
    assert os.listdir() == [name]
    assert numbers(read(name, [8, 2]).pixels) == [8, 2]


def test_files_that_are_no_videos(
    films: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    refused(tmp_path / "none.mp4", "does not exist")
    refused(tmp_path, "is a folder")
    refused(tmp_path / "none" / "a.mp4", "does not exist")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    refused(empty, "is empty")
    text = tmp_path / "text.mp4"
    text.write_text("not a video\n" * 100)
    refused(text, "not a video")
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        track = container.add_stream("pcm_s16le", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        silence.sample_rate = 8000
        container.mux(track.encode(silence))
    refused(sound, "no video track")
    header = tmp_path / "header.mp4"
    whole = films["fragments"].read_bytes()
    header.write_bytes(whole[: whole.index(b"moof") - 4])
    refused(header, "no frame")
    assert capfd.readouterr() == ("", "")


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        track = container.add_stream("mjpeg", rate=1)
        track.disposition = Disposition.attached_pic.value
        track.width, track.height, track.pix_fmt = 96, 48, "yuvj420p"
        container.mux(track.encode(av.VideoFrame.from_ndarray(stripes(0))))
        container.mux(track.encode())
    refused(path, "no video track")


def test_a_playlist_in_disguise_does_not_reach_the_network(tmp_path: Path) -> None:
    path = tmp_path / "list.mp4"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n")
        refused(path)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_videos_that_were_cut_off(
    films: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(films["plain"].read_bytes()[:3000])
    refused(cut, "cut off", "index")
    data = films["index in front"].read_bytes()
    with av.open(str(films["index in front"])) as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.size]
    for kept, end in ((40, starts[40]), (40, starts[40] + 1), (39, starts[40] - 1), (0, starts[0])):
        cut.write_bytes(data[:end])
        refused(cut, "cut off", f"only {kept} of its {COUNT} frames")
    cut.write_bytes(films["mpeg4"].read_bytes()[:-4000])
    refused(cut, "cut off")
    assert capfd.readouterr() == ("", "")


def test_what_a_stream_without_an_index_still_holds_is_the_video(
    films: dict[str, Path], tmp_path: Path
) -> None:
    cut = tmp_path / "cut.mkv"
    data = films["variable rate mkv"].read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    info = probe(cut)
    assert 5 < info.frames < COUNT - 5
    frames = read(cut, info=info)
    assert len(frames) == info.frames
    assert numbers(frames.pixels)[:5] == [0, 1, 2, 3, 4]


def test_damaged_frames_are_missed_and_the_others_are_not(
    films: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "damaged.mp4"
    data = bytearray(films["index in front"].read_bytes())
    with av.open(str(films["index in front"])) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    for packet in packets[30:34]:
        data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    assert probe(path).frames == COUNT
    with pytest.raises(VideoError, match=rf"damaged: only 5\d of {COUNT} frames could be decoded"):
        read(path)
    with pytest.raises(VideoError, match="damaged"):
        list(stream(path))
    assert numbers(read(path, [3, 20]).pixels) == [3, 20]
    assert capfd.readouterr() == ("", "")


def test_a_file_that_changed_since_it_was_probed(films: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    data = films["index in front"].read_bytes()
    path.write_bytes(data)
    info = probe(path)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match=r"video\.mp4 is damaged: only \d+ of 60"):
        read(path, info=info)


def test_info_travels_to_workers_and_a_copy_of_its_values_will_do(films: dict[str, Path]) -> None:
    path = films["variable rate"]
    info = probe(path)
    want = read(path, [50, 7]).pixels
    np.testing.assert_array_equal(
        read(path, [50, 7], info=pickle.loads(pickle.dumps(info))).pixels, want
    )
    copy = VideoInfo(info.path, info.height, info.width, info.seconds)
    np.testing.assert_array_equal(read(path, [50, 7], info=copy).pixels, want)


@pytest.mark.parametrize("index", [[COUNT], [-1], [0, 999]])
def test_frames_that_do_not_exist(films: dict[str, Path], index: list[int]) -> None:
    with pytest.raises(VideoError, match=rf"has no frame {index[-1]}: its 60 frames"):
        read(films["plain"], index)


@pytest.mark.parametrize("index", [[0.5], [[1]], 3, [True], ["1"]])
def test_an_index_that_is_none(films: dict[str, Path], index: Any) -> None:
    with pytest.raises(ShapeError, match="index"):
        read(films["plain"], index)


def test_sizes_and_chunks_that_are_none(films: dict[str, Path]) -> None:
    for size in (0, -3, (0, 5)):
        with pytest.raises(ShapeError, match="size"):
            read(films["plain"], size=size)
    with pytest.raises(ShapeError, match="chunk"):
        next(stream(films["plain"], chunk=0))


@pytest.mark.parametrize("fps", [25, 30000 / 1001, 12.5, 240, 0.5])
def test_written_frames_are_read_back(tmp_path: Path, fps: float) -> None:
    path = tmp_path / "new" / "out.mp4"
    frames = np.stack([stripes(i) for i in range(30)])
    with VideoWriter(path, fps, 48, 96) as video:
        video.write(frames[:10])
        video.write(frames[10])
        video.write(frames[11:])
        assert not path.exists()
    assert os.listdir(path.parent) == ["out.mp4"]
    back = read(path)
    assert numbers(back.pixels) == list(range(30))
    np.testing.assert_allclose(back.seconds, np.arange(30) / fps, atol=2e-5)
    assert probe(path).fps == pytest.approx(fps, rel=1e-4)


def test_times_may_be_given(tmp_path: Path) -> None:
    seconds = [0, 0.1, 0.11, 0.5, 2, 2.04]
    with VideoWriter(tmp_path / "out.mp4", 25, 48, 96) as video:
        video.write(np.stack([stripes(i) for i in range(4)]), seconds[:4])
        video.write(stripes(4), 2.0)
        video.write(stripes(5))
        with pytest.raises(VideoError, match="increase"):
            video.write(stripes(6), 1.0)
        with pytest.raises(ShapeError, match="needs 1 times"):
            video.write(stripes(6), [3.0, 4.0])
    back = read(tmp_path / "out.mp4")
    assert numbers(back.pixels) == list(range(6))
    np.testing.assert_allclose(back.seconds, seconds, atol=2e-5)


def test_odd_sides_repeat_their_last_row_and_column(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(60, 200, (1, 1, 3), np.uint8)
    frame = np.tile(frame, (45, 67, 1))
    frame[-1], frame[:, -1] = 255, 255
    write(tmp_path / "odd.mp4", frame[None], 25)
    back = read(tmp_path / "odd.mp4").pixels[0]
    assert back.shape == (46, 68, 3)
    assert back[-1].min() > 200
    assert back[:, -1].min() > 200


def test_colours_survive(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    frame = colours.repeat(16, axis=0).repeat(16, axis=1)
    write(tmp_path / "out.mp4", frame[None], 25)
    back = read(tmp_path / "out.mp4").pixels[0]
    assert np.abs(back[8::16, 8::16].astype(int) - colours).max() <= 8


@pytest.mark.parametrize("pixels", [np.zeros((2, 9, 9, 3)), np.zeros((2, 8, 8, 3), np.uint8)])
def test_a_writer_takes_only_its_own_frames_and_leaves_what_was_there(
    tmp_path: Path, pixels: Any
) -> None:
    path = tmp_path / "out.mp4"
    path.write_text("old")
    with (
        pytest.raises(ShapeError, match="takes uint8 frames"),
        VideoWriter(path, 25, 9, 9) as video,
    ):
        video.write(np.zeros((9, 9, 3), np.uint8))
        video.write(pixels)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_the_same_frames_make_the_same_file(tmp_path: Path) -> None:
    """x264's macroblock tree, for one, is another every few times on processors with AVX-512."""
    from marey.synthetic.world import sample_video

    path = tmp_path / "a.mp4"
    for seed in range(8):
        made = sample_video(np.random.default_rng(seed), "jumping_jack", size=(48, 64))
        files = set()
        for _ in range(4):
            write(path, made.pixels, made.fps)
            files.add(path.read_bytes())
            np.random.default_rng(len(files)).random(10**6)  # other leftovers in memory
        assert len(files) == 1


def test_an_empty_video_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no frames"):
        write(tmp_path / "out.mp4", np.empty((0, 8, 8, 3), np.uint8), 25)
    with pytest.raises(VideoError, match="positive"):
        write(tmp_path / "out.mp4", np.empty((1, 8, 8, 3), np.uint8), 0)
    with pytest.raises(ShapeError, match="pixels must be"):
        write(tmp_path / "out.mp4", np.empty((8, 8, 3), np.uint8), 25)
    assert os.listdir(tmp_path) == []


def test_no_room_and_no_place(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 128, 128, 3), np.uint8)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"out\.mp4 could not be written"):
        write(tmp_path / "file" / "out.mp4", noise, 25)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (100_000, 10, 0):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
            with pytest.raises(StorageError, match=r"out\.mp4 could not be written"):
                write(tmp_path / "out.mp4", noise, 25)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == ["file"]
    assert capfd.readouterr() == ("", "")


def test_errors_are_all_of_one_family() -> None:
    assert issubclass(VideoError, MareyError)
    assert issubclass(StorageError, MareyError)
