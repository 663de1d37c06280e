import time

import numpy as np
import pytest

from sr_jax.demo.people.bodies import Head
from sr_jax.demo.people.clips import sample_clip
from sr_jax.demo.people.identities import identity_number, identity_split
from sr_jax.demo.people.motions import MOTIONS
from sr_jax.demo.people.scenes import focal_length, look_at
from sr_jax.demo.people.visibility import face_boxes, face_visibility

_SMALL = {"size": (32, 24), "num_frames": 5}


def test_a_seed_is_one_clip():
    clip, again = sample_clip(5, "train", **_SMALL), sample_clip(5, "train", **_SMALL)
    for one, other in zip(clip, again):
        np.testing.assert_array_equal(one, other)
    assert clip.frames.shape == (5, 32, 24, 3) and clip.frames.dtype == np.uint8
    assert clip.depth.shape == (5, 32, 24) and clip.depth.dtype == np.float32
    assert clip.face_boxes.shape == (5, 4) and clip.face_visible.shape == (5,)
    assert (clip.depth > 0.5).all() and (clip.depth < 20).all()
    other = sample_clip(7, "train", **_SMALL)
    assert (clip.frames != other.frames).any() and clip.identity != other.identity


def test_people_and_motions_of_the_splits():
    clips = {split: [sample_clip(seed, split, **_SMALL) for seed in range(12)] for split in ("train", "test")}
    for split, of_split in clips.items():
        assert all(identity_split(clip.identity) == split for clip in of_split)
        assert all(clip.held_out_motion == MOTIONS[clip.motion].held_out for clip in of_split)
        assert all(one.identity == two.identity for one, two in zip(of_split[::2], of_split[1::2]))
        assert len({clip.identity for clip in of_split}) == 6
    assert not any(clip.held_out_motion for clip in clips["train"])
    assert [clip.held_out_motion for clip in clips["test"]] == [False, True] * 6


def test_an_identity_can_be_asked_for():
    number = identity_number("test", 3)
    assert sample_clip(0, "test", identity=number, **_SMALL).identity == number
    with pytest.raises(ValueError, match="belongs to split 'test'"):
        sample_clip(0, "train", identity=number, **_SMALL)
    with pytest.raises(ValueError, match="unknown split"):
        sample_clip(0, "val", **_SMALL)


def test_seen_from_near_a_face_is_large_and_the_hips_are_in_the_picture():
    clips = [sample_clip(seed, "train", framing="hips up", size=(44, 36), num_frames=3) for seed in range(12)]
    assert {clip.framing for clip in clips} == {"hips up"}
    heights = np.array([(clip.face_boxes[:, 3] - clip.face_boxes[:, 1]).mean() for clip in clips])
    # A token is 4 of these pixels: see configs/sizes.py.
    assert np.median(heights) > 12 and heights.min() > 9
    inside = [(box[:2] > -4).all() and (box[2:] < (40, 48)).all() for clip in clips for box in clip.face_boxes]
    assert np.mean(inside) > 0.9
    with pytest.raises(ValueError, match="unknown framing 'toes up'"):
        sample_clip(0, "train", framing="toes up", **_SMALL)


def test_violent_motions_can_be_asked_for():
    for split in ("train", "test"):
        clips = [sample_clip(seed, split, violent_only=True, **_SMALL) for seed in range(10)]
        assert all(clip.violent for clip in clips) and len({clip.motion for clip in clips}) > 1
        assert [clip.held_out_motion for clip in clips] == [split == "test" and seed % 2 == 1 for seed in range(10)]


def test_captions_say_what_is_seen():
    for seed in range(20):
        clip = sample_clip(seed, "train", **_SMALL)
        assert clip.caption.startswith(f"a {clip.person} with ")
        assert MOTIONS[clip.motion].phrase.split()[0] in clip.caption
        assert ("camera" in clip.caption) == (clip.camera != "still")
        assert "{" not in clip.caption


def _facing_heads(yaws, x=0.0):
    turns = [[[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]] for yaw in yaws]
    count = len(yaws)
    head = Head(np.array(turns), np.tile([x, 1.4, 0.0], (count, 1)), np.tile([0.12, 0.15, 0.13], (count, 1)))
    target = np.tile([0.0, 1.3, 0.0], (count, 1))
    return head, look_at(target + np.array([0.5, 0.2, 3.0]), target)


def test_face_boxes_hold_the_head_tightly():
    head, camera = _facing_heads([0.0, 0.7, -1.2], x=0.1)
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(20000, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    boxes = face_boxes(head, camera, (64, 48))
    for frame, box in enumerate(boxes):
        points = head.centre[frame] + (ball * head.radii[frame]) @ head.rotation[frame].T
        x, y, z = ((points - camera.position[frame]) @ camera.rotation[frame]).T
        columns, rows = 24 + focal_length(64) * x / z, 32 + focal_length(64) * y / z
        np.testing.assert_allclose(box, [columns.min(), rows.min(), columns.max(), rows.max()], atol=0.05)


def test_face_boxes_lie_where_the_head_is_painted():
    clip = sample_clip(1, "train")
    for frame, (x0, y0, x1, y1) in enumerate(clip.face_boxes):
        column, row = int((x0 + x1) / 2), int((y0 + y1) / 2)
        around = clip.depth[frame, max(row - 2, 0) : row + 3, column - 1 : column + 2]
        assert np.ptp(around) < 0.12, "the middle of the box is on the head"
        assert clip.depth[frame, max(row, 0), 0] - around.mean() > 0.3, "which stands out from the wall"


def test_a_face_is_visible_unless_turned_away_outside_or_covered():
    head, camera = _facing_heads([0.0, np.pi, 1.9])
    open_view = np.full((3, 64, 48), 10.0, np.float32)
    np.testing.assert_array_equal(face_visibility(head, camera, open_view), [True, False, False])
    assert not face_visibility(head, camera, np.full((3, 64, 48), 1.0, np.float32)).any()
    outside, camera = _facing_heads([0.0], x=1.5)
    assert not face_visibility(outside, camera, open_view[:1]).any()


def test_most_faces_are_visible_and_large_enough():
    clips = [sample_clip(seed, "train") for seed in range(24)]
    assert np.mean([clip.face_visible for clip in clips]) > 0.85
    heights = np.array([clip.face_boxes[:, 3] - clip.face_boxes[:, 1] for clip in clips])
    assert np.mean((heights > 11) & (heights < 23)) > 0.7


def test_a_hundred_clips_take_less_than_a_minute_on_two_cores():
    sample_clip(0, "train")
    started = time.process_time()
    for seed in range(5):
        sample_clip(seed, "train")
    # CPU time of all threads: busy neighbours do not matter.
    assert (time.process_time() - started) / 5 < 2 * 60 / 100
