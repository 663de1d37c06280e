"""Work that overlaps: reading ahead and writing behind, in threads with bounded queues."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

_Item = TypeVar("_Item")


def read_ahead(items: Iterable[_Item], ahead: int) -> Iterator[_Item]:
    """The same items, made in a thread while earlier ones are used.

    An exception of `items` arrives in its place. When the result is closed early, the thread ends after the item that
    it is making.

    Args:
        items: Gone through in the thread.
        ahead: How many items may wait.
    """
    waiting: queue.Queue[tuple[_Item | None, BaseException | None]] = queue.Queue(ahead)
    closed = threading.Event()

    def put(item: _Item | None, error: BaseException | None) -> None:
        while not closed.is_set():
            try:
                return waiting.put((item, error), timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item, None)
                if closed.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:
            put(None, error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        closed.set()
        thread.join()


class WriteBehind:
    """Calls functions one after the other in a thread. As a context, waits at its end until all have returned.

    What a call raises is raised by the next call of `submit`, or at the end.
    """

    def __init__(self, behind: int):
        """Starts the thread.

        Args:
            behind: How many calls may wait; `submit` blocks when there are more.
        """
        self._behind = behind
        self._pool = ThreadPoolExecutor(1)
        self._waiting: list[Future] = []

    def __enter__(self) -> "WriteBehind":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            self._collect(0)

    def submit(self, function: Callable[..., Any], *args: Any) -> None:
        """Calls `function(*args)` some time later."""
        self._collect(self._behind)
        self._waiting.append(self._pool.submit(function, *args))

    def _collect(self, most: int) -> None:
        while len(self._waiting) > most:
            self._waiting.pop(0).result()
