import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.preparation.framing import DropOptions, Size, Window, drop_reason, frame_person, nearest_size
from sr_jax.preparation.people import Look, PersonOptions, motion_between

_CENTRE = PersonOptions()
_SIZES = (Size(480, 720), Size(720, 480), Size(592, 592))


def _look(*boxes, motion=1.0):
    return Look(0, np.array(boxes, np.float32).reshape(-1, 4), motion)


@pytest.mark.parametrize(
    "height,width,expected",
    [(1080, 1920, 0), (480, 720, 0), (1920, 1080, 1), (600, 600, 2), (500, 600, 2), (500, 640, 0), (640, 500, 1)],
)
def test_nearest_size(height, width, expected):
    assert nearest_size(height, width, _SIZES) == _SIZES[expected]


@pytest.mark.parametrize(
    "frame,size,expected",
    [
        ((100, 300), (50, 50), (0, 100, 100, 100)),
        ((300, 100), (50, 50), (100, 0, 100, 100)),
        ((100, 300), (50, 100), (0, 50, 100, 200)),
        ((16, 12), (16, 12), (0, 0, 16, 12)),
    ],
)
def test_without_a_person_the_centre(frame, size, expected):
    assert frame_person([], *frame, Size(*size), _CENTRE) == Window(*expected)
    # People are not looked for everywhere: a look without any is the same.
    assert frame_person([_look()], *frame, Size(*size), _CENTRE) == Window(*expected)


def test_the_window_is_around_the_person_and_stands_still():
    looks = [_look([200, 40, 220, 60]), _look([204, 40, 224, 60]), _look(), _look([208, 40, 228, 60])]
    # Without zoom, as large as fits; moved to the person as far as the frame goes.
    assert frame_person(looks, 100, 300, Size(20, 20), _CENTRE) == Window(0, 164, 100, 100)
    assert frame_person(looks, 100, 220, Size(20, 20), _CENTRE) == Window(0, 120, 100, 100)
    # Three heights of the box, its middle (50) at two fifths.
    zoomed = PersonOptions("face", zoom=3.0, anchor=0.4)
    assert frame_person(looks, 100, 300, Size(20, 20), zoomed) == Window(26, 184, 60, 60)
    assert frame_person(looks, 100, 300, Size(20, 40), zoomed) == Window(26, 154, 60, 120)


def test_nothing_is_enlarged_and_the_way_is_inside():
    zoomed = PersonOptions("face", zoom=2.0)
    window = frame_person([_look([100, 40, 110, 50])], 200, 300, Size(60, 60), zoomed)
    assert window == Window(15, 75, 60, 60)
    wide = [_look([x, 40, x + 10, 50]) for x in range(50, 251, 2)]
    window = frame_person(wide, 200, 300, Size(20, 20), zoomed)
    assert window.left <= 75 and window.left + window.width >= 235
    assert window.height == window.width < 200
    # One wrong box does not move it.
    once = [_look([100, 40, 110, 50])] * 20 + [_look([280, 180, 290, 190])]
    assert frame_person(once, 200, 300, Size(20, 20), zoomed) == frame_person(once[:1], 200, 300, Size(20, 20), zoomed)


@pytest.mark.parametrize(
    "people,options,expected",
    [
        ([1, 1, 1], DropOptions(True, True, 0.5), None),
        ([0, 0, 1], DropOptions(no_person=True), "no person"),
        ([0, 1], DropOptions(no_person=True), "no person"),
        ([0, 1, 1], DropOptions(no_person=True), None),
        ([0, 0, 0], DropOptions(), None),
        ([2, 2, 1], DropOptions(several_people=True), "several people"),
        ([3, 2, 1, 1], DropOptions(several_people=True), None),
        ([2, 2], DropOptions(no_person=True), None),
        ([1, 1], DropOptions(least_motion=1.1), "too little motion"),
        ([1, 1], DropOptions(least_motion=0.9), None),
        ([1], DropOptions(least_motion=5.0), None),
    ],
)
def test_reasons_to_drop(people, options, expected):
    looks = [_look(*[[0, 0, 9, 9]] * count) for count in people]
    assert drop_reason(looks, options) == expected


def test_motion_leaves_out_what_came_before_the_clip():
    looks = [_look(motion=9.0), _look(motion=1.0), _look(motion=float("nan")), _look(motion=3.0)]
    assert motion_between(looks) == 2.0
    assert np.isnan(motion_between(looks[:1]))


@pytest.mark.parametrize(
    "options,message",
    [
        ({"looks_per_second": 0.0}, r"person\.looks_per_second is 0: it must be more than 0"),
        ({"looks_per_second": -2.0}, r"person\.looks_per_second is -2"),
    ],
)
def test_options_that_do_not_exist(options, message):
    with pytest.raises(UserError, match=message):
        PersonOptions(**options)
