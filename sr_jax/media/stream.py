"""The frames of a video's best stream, each with its time, its colours and the way it is shown; damage is counted.

Decoders conceal what they cannot read, and go on: a lost packet leaves a frame of smeared blocks, and so are those that
follow it until the next key frame. FFmpeg tells of most damage by a flag on the frame, by an error, or by a line in its
log.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

import av
import av.logging
from av.stream import Disposition
from av.video.frame import PictureType

from sr_jax.errors import UserError
from sr_jax.media.colours import Colours, colours_of
from sr_jax.media.orientation import Orientation, orientation_of

# PyAV counts the lines that report errors only with some level set; at this one it prints none of them.
av.logging.set_level(av.logging.PANIC)

# FFmpeg opens single pictures and text as videos too, and playlists, which name other files.
_NO_VIDEOS = frozenset({"concat", "concatf", "dash", "hls", "image2", "lrc", "tty"})
# A clock that goes back by more seconds starts anew: another recording was joined. Files with disorder in their times
# jump back by a few frames.
_RESTART_SECONDS = 0.25


@dataclasses.dataclass(frozen=True)
class DecodedFrame:
    """One frame of a stream.

    Attributes:
        frame: Its pixels, as they are stored.
        seconds: When it is shown, since the first frame; never less than for the frame before.
        duration: For how many seconds, as far as the file says so; otherwise 0.
        restarts: Whether the clock of the file starts anew with it.
        orientation: How it is shown.
        colours: What its numbers mean.
    """

    frame: av.VideoFrame
    seconds: float
    duration: float
    restarts: bool
    orientation: Orientation
    colours: Colours


def best_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The stream of moving pictures with the most pixels; among equals the default one, then the first."""
    names = set(container.format.name.split(","))
    if names & _NO_VIDEOS or any(name.endswith("_pipe") for name in names):
        return None

    def rank(stream: av.VideoStream) -> tuple[int, bool]:
        codec = stream.codec_context
        return codec.width * codec.height if codec else -1, bool(stream.disposition & Disposition.default)

    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = (stream for stream in container.streams.video if not stream.disposition & covers)
    return max(streams, key=rank, default=None)


class DecodedStream:
    """The frames of a stream, in the order in which they are shown; can be gone through once.

    Attributes:
        fps: Frames a second as the container says, the average if they vary; 0 where it does not say.
        restarted: Whether its clock started anew so far.
    """

    def __init__(self, container: av.container.InputContainer, stream: av.VideoStream):
        """Decodes nothing yet.

        Args:
            container: An open file.
            stream: One of its streams.
        """
        self.fps = float(stream.average_rate or stream.guessed_rate or 0)
        self.restarted = False
        self._container, self._stream = container, stream
        self._damage = _Damage()

    def __iter__(self) -> Iterator[DecodedFrame]:
        """Goes through the frames.

        Raises:
            UserError: For colours that cannot be converted.
            av.error.FFmpegError: When the file cannot be read, or not one frame of it can be decoded.
        """
        clock = _Clock(self.fps)
        for frame in self._frames():
            seconds, restarts = clock(frame)
            self.restarted |= restarts
            yield DecodedFrame(frame, seconds, clock.duration, restarts, orientation_of(frame), colours_of(frame))

    def check(self) -> None:
        """To be called after the last frame.

        Raises:
            UserError: When frames are damaged, with their share.
        """
        damaged, total = self._damage.damaged, self._damage.total
        if damaged:
            raise UserError(f"{damaged} of {total} frames ({damaged / total:.1%}) are damaged")

    def _frames(self) -> Iterator[av.VideoFrame]:
        """Decodes, past errors once there has been a frame, and counts damage."""
        failure, before, doubtful = None, _errors(), set()
        for packet, *following in _with_following(self._container.demux(self._stream)):
            # Where recordings are joined, one of the last packets before the seam is taken for incomplete: there a key
            # frame follows.
            if packet.is_corrupt and not any(other and other.is_keyframe for other in following):
                doubtful.add(packet.pts)
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                failure = failure or error
                frames = []
                self._damage.lost()
            now = _errors()
            reported, before = now[0] > before[0] and now[1] == self._stream.codec_context.name, now
            for frame in frames:
                self._damage.add(frame, reported, frame.pts in doubtful)
                yield frame
        if failure and not self._damage.decoded:
            raise failure


def _with_following(packets: Iterable[av.Packet]) -> Iterator[tuple[av.Packet | None, ...]]:
    """Each packet with the two after it, as far as there are any."""
    copies = itertools.tee(itertools.chain(packets, [None, None]), 3)
    return zip(*(itertools.islice(copy, place, None) for place, copy in enumerate(copies)))


def _errors() -> tuple[int, str]:
    """How many lines have reported an error so far, of whatever file, and which part of FFmpeg wrote the last one."""
    count, line = av.logging.get_last_error()
    return count, line[1] if line else ""


class _Damage:
    """Counts frames that are damaged themselves, and those that are predicted from them as far as can be told."""

    def __init__(self) -> None:
        self.decoded = self._lost = self._spoilt_frames = self._reported_frames = self._between = 0
        self._spoilt = False

    @property
    def damaged(self) -> int:
        """How many are damaged: as frames are flagged, otherwise as the log says, where one line is about one frame."""
        return self._spoilt_frames or self._reported_frames

    @property
    def total(self) -> int:
        """Frames, with those that could not be decoded at all."""
        return self.decoded + self._lost

    def lost(self) -> None:
        """Counts a frame that could not be decoded."""
        self._lost += 1
        self._spoil()

    def add(self, frame: av.VideoFrame, reported: bool, doubtful: bool) -> None:
        """Counts the next frame.

        Args:
            frame: The frame.
            reported: Whether the decoder reported an error about when it was decoded.
            doubtful: Whether the packet that it comes from is incomplete, or its neighbour is.
        """
        self.decoded += 1
        between = frame.pict_type == PictureType.B
        self._reported_frames += reported
        if frame.is_corrupt:
            if between or self._spoilt:
                self._spoilt_frames += 1
            else:
                self._spoil()
            return
        self._spoilt = self._spoilt and not frame.key_frame
        self._spoilt_frames += self._spoilt or doubtful
        self._between = self._between + 1 if between else 0

    def _spoil(self) -> None:
        """Counts a damaged frame, from which the frames until the next key frame are predicted.

        So are the frames just before it that are predicted from both sides.
        """
        self._spoilt_frames += 1 + self._between
        self._between, self._spoilt = 0, True


class _Clock:
    """Turns the times of frames into seconds since the first one that never go back.

    Attributes:
        duration: For how many seconds the last frame is shown, as far as the file says so; otherwise 0.
    """

    def __init__(self, fps: float):
        self.duration = 0.0
        self._usual = 1 / fps if fps else 0.0
        self._start, self._seconds = None, 0.0

    def __call__(self, frame: av.VideoFrame) -> tuple[float, bool]:
        """When a frame is shown, and whether the clock started anew; without a time it follows at the average rate."""
        time, step = frame.time, self.duration or self._usual
        self.duration = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0
        restarts = False
        if self._start is None:
            self._start = 0.0 if time is None else time
        elif time is None:
            self._seconds += step
        elif restarts := time - self._start < self._seconds - _RESTART_SECONDS:
            self._seconds += step
            self._start = time - self._seconds
        else:
            self._seconds = max(self._seconds, time - self._start)
        return self._seconds, restarts
