from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sr_jax.demo.real_clips.footage import CARPHONE
from sr_jax.media.video import read_video, resize_and_crop
from sr_jax.packages import cache_folder, fetch
from sr_jax.teachers.base import FaceDetector
from sr_jax.teachers.faces.centerface import CenterFaceDetector, decode


def maps(height=6, width=8):
    return (
        np.zeros((height, width), np.float32),
        np.zeros((2, height, width), np.float32),
        np.zeros((2, height, width), np.float32),
        np.zeros((10, height, width), np.float32),
    )


def test_decode_reads_one_box_with_its_landmarks():
    heatmap, size, offset, landmarks = maps()
    heatmap[2, 5] = 0.9
    size[:, 2, 5] = np.log([3.0, 2.0])  # 12 pixels high, 8 wide
    offset[:, 2, 5] = [0.25, -0.25]  # centre at y = (2 + 0.75) * 4 = 11, x = (5 + 0.25) * 4 = 21
    landmarks[:, 2, 5] = [0.25, 0.25, 0.25, 0.75, 0.5, 0.5, 0.75, 0.25, 1.0, 1.0]  # y, x in units of the box
    boxes, scores, points = decode(heatmap, size, offset, landmarks, threshold=0.5)
    np.testing.assert_allclose(boxes, [[17, 5, 25, 17]], atol=1e-5)
    np.testing.assert_allclose(scores, [0.9])
    np.testing.assert_allclose(points, [[[19, 8], [23, 8], [21, 11], [19, 14], [25, 17]]], atol=1e-5)


def test_decode_sorts_by_score_and_drops_what_is_below_the_threshold():
    heatmap, size, offset, landmarks = maps()
    heatmap[0, 0], heatmap[3, 3], heatmap[5, 7] = 0.4, 0.8, 0.6
    boxes, scores, _ = decode(heatmap, size, offset, landmarks, threshold=0.5)
    np.testing.assert_allclose(scores, [0.8, 0.6])
    np.testing.assert_allclose(boxes[:, :2], [[12, 12], [28, 20]])


def test_decode_of_nothing():
    boxes, scores, points = decode(*maps(), threshold=0.5)
    assert boxes.shape == (0, 4) and scores.shape == (0,) and points.shape == (0, 5, 2)


@pytest.fixture(scope="module")
def detector():
    return CenterFaceDetector.from_package(cache_folder())


@pytest.fixture(scope="module")
def frames():
    return read_video(fetch(CARPHONE, cache=cache_folder())[0])[0][::12]


def test_it_finds_the_one_face_of_a_real_video(detector, frames):
    assert isinstance(detector, FaceDetector)
    found = detector(frames)
    assert [len(faces) for faces in found] == [1] * len(frames)
    for face in (faces[0] for faces in found):
        width, height = face.box[2:] - face.box[:2]
        # The man's face is about 50 by 60 pixels, left of the middle of the 176 x 144 frame.
        assert 40 < width < 65 and 45 < height < 75
        assert 30 < face.box[0] < 90 and 15 < face.box[1] < 60
        assert face.score > 0.6
        assert (face.landmarks > face.box[:2]).all() and (face.landmarks < face.box[2:]).all()
        left_eye, right_eye, nose, mouth_left, mouth_right = face.landmarks
        assert left_eye[0] + 15 < right_eye[0] and mouth_left[0] + 10 < mouth_right[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < max(mouth_left[1], mouth_right[1])


def test_boxes_scale_with_the_frame(detector, frames):
    small = detector(resize_and_crop(frames, 72, frames.shape[2] // 2))
    for faces, halves in zip(detector(frames), small):
        np.testing.assert_allclose(halves[0].box * 2, faces[0].box, atol=5)
        np.testing.assert_allclose(halves[0].landmarks * 2, faces[0].landmarks, atol=4)


def test_it_finds_small_faces_in_large_frames(detector, frames):
    # The man's face is 53 pixels high here: shrunk to 22, a sixteenth of a picture of 360 lines.
    small = resize_and_crop(frames[:4], 60, 73)
    pictures = np.full((4, 720, 1280, 3), 90, np.uint8)
    pictures[:, 330:450, 500:646] = resize_and_crop(small, 120, 146)
    for faces in detector(pictures):
        assert len(faces) == 1 and faces[0].score > 0.5
        left, top, right, bottom = faces[0].box
        assert 30 < bottom - top < 60 and 500 < left < right < 646 and 330 < top < bottom < 450


def test_it_finds_nothing_where_there_is_no_face(detector):
    assert detector(np.full((2, 64, 48, 3), 90, np.uint8)) == [[], []]


def test_threads_may_share_it(detector, frames):
    alone = [faces[0].box for faces in detector(frames)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda frame: detector(frame[None])[0][0].box, frames))
    np.testing.assert_allclose(together, alone, atol=1e-3)
