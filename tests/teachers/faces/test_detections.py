import numpy as np

from sr_jax.teachers.faces.detections import select_faces, suppress


def test_suppress_keeps_the_better_of_two_that_overlap():
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [8, 0, 18, 10], [30, 30, 40, 40]], np.float32)
    scores = np.array([0.5, 0.9, 0.4, 0.7], np.float32)
    # Overlaps: 0 and 1 share 80 of 120, 1 and 2 share 40 of 160, 0 and 2 share 20 of 180.
    assert suppress(boxes, scores, 0.3) == [1, 3, 2]
    assert suppress(boxes, scores, 0.2) == [1, 3]
    assert suppress(boxes, scores, 0.7) == [1, 3, 0, 2]


def test_suppress_of_nothing():
    assert suppress(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 0.3) == []


def test_faces_are_in_pixels_of_the_frame_and_inside_it():
    """A network's input of 10x10 for a frame 20 high and 40 wide."""
    boxes = np.array([[1, 2, 5, 6], [6, 6, 12, 11], [-1, -1, 0.5, 1]], np.float32)
    landmarks = np.arange(30, dtype=np.float32).reshape(3, 5, 2)
    scores = np.array([0.5, 0.9, 0.7], np.float32)
    faces = select_faces(boxes, scores, landmarks, (20, 40), np.array([4, 2], np.float32), max_overlap=0.3)
    assert [face.score for face in faces] == [np.float32(score) for score in (0.9, 0.7, 0.5)]
    np.testing.assert_array_equal([face.box for face in faces], [[24, 12, 40, 20], [0, 0, 2, 2], [4, 4, 20, 12]])
    np.testing.assert_array_equal(faces[2].landmarks, landmarks[0] * [4, 2])
