"""Interlaced frames made whole: each holds two moments, in its even and in its odd rows."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator

import av
from av.filter import Graph

from sr_jax.media.stream import DecodedFrame

# One frame for each, of the earlier of its moments; frames that are not interlaced pass as they are.
_BWDIF = "mode=send_frame:parity=auto:deint=interlaced"


def deinterlaced(frames: Iterable[DecodedFrame]) -> Iterator[DecodedFrame]:
    """The same frames in the same order, the interlaced ones (as they are flagged) made whole by bwdif."""
    bwdif = None
    for item in frames:
        if bwdif is not None and not bwdif.takes(item.frame):
            yield from bwdif.rest()
            bwdif = None
        if bwdif is None and item.frame.interlaced_frame:
            bwdif = _Bwdif(item.frame)
        if bwdif is None:
            yield item
        else:
            yield from bwdif(item)
    if bwdif is not None:
        yield from bwdif.rest()


class _Bwdif:
    """The filter for frames of one size and pixel format; it looks one frame ahead."""

    def __init__(self, frame: av.VideoFrame):
        self._kind = (frame.width, frame.height, frame.format.name)
        # Kept, because its filters do not keep it.
        self._graph = Graph()
        self._source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        self._sink = self._graph.add("buffersink")
        self._graph.link_nodes(self._source, self._graph.add("bwdif", _BWDIF), self._sink).configure()
        # The filter knows a frame by its time, which may be missing or stand still: they are counted instead.
        self._count, self._waiting = 0, collections.deque()

    def takes(self, frame: av.VideoFrame) -> bool:
        return self._kind == (frame.width, frame.height, frame.format.name)

    def __call__(self, item: DecodedFrame) -> Iterator[DecodedFrame]:
        item.frame.pts = self._count
        self._count += 1
        self._waiting.append(item)
        self._source.push(item.frame)
        return self._finished()

    def rest(self) -> Iterator[DecodedFrame]:
        """What is still inside."""
        self._source.push(None)
        return self._finished()

    def _finished(self) -> Iterator[DecodedFrame]:
        while True:
            try:
                frame = self._sink.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            yield dataclasses.replace(self._waiting.popleft(), frame=frame)
