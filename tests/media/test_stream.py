"""Damaged, interlaced, joined and mixed recordings, and files of several streams."""

from fractions import Fraction

import av
import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.media.decoding import open_video, scan_video
from sr_jax.media.shots import ShotFinder, ShotOptions
from sr_jax.media.video import read_video
from tests.media.files import join, smooth, textured, write


def _packets(path):
    """The packets of a video, with the stream they are of and the container, which must stay open."""
    container = av.open(str(path))
    stream = container.streams.video[0]
    return container, stream, [packet for packet in container.demux(stream) if packet.size]


def _with_damage(path, damaged, number, change):
    """Copies a video with the bytes of one packet changed."""
    container, stream, packets = _packets(path)
    with container, av.open(str(damaged), "w") as out:
        copy = out.add_stream_from_template(stream)
        for index, packet in enumerate(packets):
            if index == number:
                changed = av.Packet(change(bytes(packet)))
                changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
                changed.is_keyframe = packet.is_keyframe
                packet = changed
            packet.stream = copy
            out.mux(packet)


def _cut_short(data):
    return data[: len(data) // 2]


def _flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 20]) + data[middle + 20 :]


# A frame that others are predicted from, until the next key frame: every tenth is one. With two frames between, which
# are predicted from both sides and stored behind, the fifth of ten as they are stored is the seventh as they are shown,
# and the two before it are damaged too.
@pytest.mark.parametrize("between,number,damaged", [("0", 14, 6), ("0", 39, 1), ("2", 14, 6)])
def test_frames_that_a_decoder_conceals_are_counted(tmp_path, between, number, damaged):
    options = {"g": "10", "bf": between, "x264-params": "scenecut=0:b-adapt=0:b-pyramid=none:weightp=0:cabac=0"}
    write(tmp_path / "whole.mkv", textured(40), **options)
    assert scan_video(tmp_path / "whole.mkv").num_frames == 40
    _with_damage(tmp_path / "whole.mkv", tmp_path / "a.mkv", number, _flipped)
    with av.open(str(tmp_path / "a.mkv")) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    whole = read_video(tmp_path / "whole.mkv")[0]
    # What FFmpeg made of it: as many frames, of which some are not those that were written.
    assert len(frames) == 40
    assert sum(np.abs(one - other).mean() > 0.5 for one, other in zip(frames, whole)) == damaged
    message = rf"cannot read the video .*a\.mkv: {damaged} of 40 frames \({damaged / 40:.1%}\) are damaged"
    for read in (scan_video, read_video):
        with pytest.raises(UserError, match=message):
            read(tmp_path / "a.mkv")


# Each decoder tells in its own way: a flag, an error, or only a line in its log.
@pytest.mark.parametrize(
    "codec,pixel_format,change",
    [
        ("mpeg2video", "yuv420p", _flipped),
        ("mpeg4", "yuv420p", _flipped),
        ("libx264", "yuv420p", _cut_short),
        ("libx265", "yuv420p", _cut_short),
        ("ffv1", "bgr0", _flipped),
        ("mjpeg", "yuvj420p", _cut_short),
        ("prores_ks", "yuv422p10le", _cut_short),
        ("libvpx-vp9", "yuv420p", lambda data: b"\xff" + data[1:]),
    ],
)
def test_every_decoder_tells(tmp_path, codec, pixel_format, change):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    write(tmp_path / "whole.mkv", textured(20), codec=codec, pixel_format=pixel_format, **options)
    assert scan_video(tmp_path / "whole.mkv").num_frames == 20
    _with_damage(tmp_path / "whole.mkv", tmp_path / "a.mkv", 9, change)
    with pytest.raises(UserError, match=r"cannot read the video .*a\.mkv: \d+ of (19|20) frames .* are damaged"):
        scan_video(tmp_path / "a.mkv")


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_lost_packets_of_a_transport_stream(tmp_path, part):
    data = write(tmp_path / "whole.ts", textured(60), g="12").read_bytes()
    packets = [data[place : place + 188] for place in range(0, len(data), 188)]
    pictures = [place for place, packet in enumerate(packets) if packet[1:3] in (b"\x01\x00", b"\x41\x00")]
    assert scan_video(tmp_path / "whole.ts").num_frames == 60
    del packets[pictures[int(part * len(pictures))]]
    (tmp_path / "a.ts").write_bytes(b"".join(packets))
    with pytest.raises(UserError, match=r"\d+ of \d\d frames \(\d+\.\d%\) are damaged"):
        scan_video(tmp_path / "a.ts")


def test_a_reader_that_stops_early_meets_no_damage(tmp_path):
    write(tmp_path / "whole.mkv", textured(40), g="10")
    _with_damage(tmp_path / "whole.mkv", tmp_path / "a.mkv", 30, _flipped)
    with open_video(tmp_path / "a.mkv") as video:
        assert [next(video.pictures).seconds for _ in range(5)] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])


def _weave(frames):
    """Interlaced frames: odd rows of one moment, even rows of the next; the encoder takes odd rows for the earlier."""
    woven = frames[::2].copy()
    woven[:, ::2] = frames[1::2, ::2]
    return woven


@pytest.mark.parametrize("flagged", [True, False])
def test_flagged_frames_are_deinterlaced(tmp_path, flagged):
    x = np.mgrid[:96, :128][1]
    # A wide wave that moves by three pixels from one moment to the next.
    moments = [127 + 100 * np.sin((x - 3 * moment) / 6) for moment in range(24)]
    moments = np.repeat(np.stack(moments)[..., None], 3, axis=-1).astype(np.uint8)
    options = {"flags": "+ildct+ilme", "x264-params": "weightp=0"} if flagged else {}
    path = write(tmp_path / "a.mp4", _weave(moments), pixel_format="yuv444p", qp="4", **options)
    read = read_video(path)[0].astype(int)
    info = scan_video(path)
    assert len(read) == info.num_frames == 12
    np.testing.assert_allclose(info.times, np.arange(12) / 25, atol=1e-6)
    error = np.abs(read[2:-2] - moments[4:-4:2])
    assert (error.mean() < 3) == flagged
    assert (error.mean() > 8) != flagged


def test_joined_recordings_are_shots(tmp_path):
    parts = [write(tmp_path / f"{number}.ts", textured(40, seed=number)) for number in range(3)]
    path = join(tmp_path / "a.ts", *parts)
    finder = ShotFinder(ShotOptions("none"))
    info = scan_video(path, [finder])
    assert info.num_frames == 120
    # The clock of each begins where that of the first one did.
    np.testing.assert_allclose(info.times, np.arange(120) / 25, atol=1e-3)
    assert finder.shots(info.times) == [(0, 40), (40, 80), (80, 120)]
    assert np.flatnonzero(~info.follows).tolist() == [0, 40, 80]


def test_a_little_disorder_in_the_times_is_no_join(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "bgr0"
        for number, pixels in enumerate(smooth(8)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            for packet in stream.encode(frame):
                # The muxer puts the times of packets down as they are.
                packet.time_base = Fraction(1, 1000)
                packet.dts = 40 * number
                packet.pts = 100 + [0, 40, 120, 80, 160, 200, 240, 280][number]
                out.mux(packet)
    info = scan_video(tmp_path / "a.mkv")
    np.testing.assert_allclose(info.times, [0, 0.04, 0.12, 0.12, 0.16, 0.2, 0.24, 0.28], atol=1e-3)
    assert info.follows[1:].all()


@pytest.mark.parametrize("name", ["none", "adaptive"])
def test_a_size_that_changes_is_a_new_shot_and_nothing_is_squeezed(tmp_path, name):
    wide, tall = textured(30), textured(30, 128, 96)
    path = join(tmp_path / "a.ts", *(write(tmp_path / f"{n}.ts", part) for n, part in enumerate([wide, tall])))
    finder = ShotFinder(ShotOptions(name))
    info = scan_video(path, [finder])
    assert info.sizes.tolist() == [[96, 128]] * 30 + [[128, 96]] * 30
    assert finder.shots(info.times) == [(0, 30), (30, 60)]
    with open_video(path) as video:
        shapes = {picture.pixels().shape for picture in video.pictures}
    assert shapes == {(96, 128, 3), (128, 96, 3)}
    with pytest.raises(UserError, match=r"a\.ts changes from 96x128 to 128x96 pixels at 1\.2 seconds: cut it there"):
        read_video(path)


def test_the_best_stream_is_taken(tmp_path):
    sizes = ((32, 32), (96, 128), (64, 64))
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        streams = []
        for height, width in sizes:
            streams.append(out.add_stream("libx264", rate=25))
            streams[-1].height, streams[-1].width, streams[-1].pix_fmt = height, width, "yuv420p"
        for number in range(5):
            for stream, size in zip(streams, sizes):
                frame = av.VideoFrame.from_ndarray(smooth(5, *size)[number], format="rgb24")
                frame.pts = number
                out.mux(stream.encode(frame))
        for stream in streams:
            out.mux(stream.encode())
    assert read_video(tmp_path / "a.mkv")[0].shape == (5, 96, 128, 3)
