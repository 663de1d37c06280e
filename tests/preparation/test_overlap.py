import threading
import time

import pytest

from sr_jax.preparation.overlap import WriteBehind, read_ahead


def test_items_come_in_order_and_few_wait():
    made = []

    def items():
        for number in range(6):
            made.append(number)
            yield number

    taken = []
    for item in read_ahead(items(), 1):
        time.sleep(0.02)
        taken.append(item)
        # One is in use, one waits, one is about to be put.
        assert len(made) <= len(taken) + 2
    assert taken == list(range(6))


def test_making_and_using_overlap():
    second_was_made = threading.Event()

    def items():
        yield 1
        second_was_made.set()
        yield 2

    for item in read_ahead(items(), 1):
        if item == 1:
            assert second_was_made.wait(5)


def test_errors_of_making_arrive_in_their_place():
    def items():
        yield 1
        raise OSError("no more")

    reading = read_ahead(items(), 1)
    assert next(reading) == 1
    with pytest.raises(OSError, match="no more"):
        next(reading)


def test_stopping_early_ends_the_thread():
    before = threading.active_count()
    for item in read_ahead(iter(range(100)), 1):
        if item == 2:
            break
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_all_calls_have_returned_at_the_end_and_few_wait():
    gate, done = threading.Event(), []

    def call(number):
        gate.wait(5)
        done.append(number)

    with WriteBehind(1) as writer:
        writer.submit(call, 0)
        writer.submit(call, 1)
        waiting = threading.Thread(target=writer.submit, args=(call, 2))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive() and not done
        gate.set()
        waiting.join(5)
        assert not waiting.is_alive()
    assert done == [0, 1, 2]


def test_errors_of_calls_are_raised():
    def fail():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), WriteBehind(1) as writer:
        writer.submit(fail)
