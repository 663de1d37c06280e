import numpy as np
import pytest

from sr_jax.errors import UserError
from sr_jax.teachers.base import Face
from sr_jax.teachers.faces.tracks import face_track, face_tracks, largest


def face(x0=0.0, y0=0.0, x1=4.0, y1=4.0, score=1.0):
    return Face(np.array([x0, y0, x1, y1], np.float32), score)


class Brightness:
    """Finds one face in every frame that is not black, and embeds it as the frame's mean colour."""

    name, weight_hash, embedding_dim = "brightness", "none", 3

    def __call__(self, frames):
        return [[face(), face(x1=8.0, score=0.5)] if frame.any() else [] for frame in frames]

    def embed(self, frames, faces):
        found = np.array([each is not None for each in faces])
        assert all(each is None or each.box[2] == 8 for each in faces), "the largest face is embedded"
        colours = frames.reshape(len(frames), -1, 3).mean(axis=1)
        lengths = np.maximum(np.linalg.norm(colours, axis=1, keepdims=True), 1)
        return np.where(found[:, None], colours / lengths, 0).astype(np.float32), found


def painted(*colours):
    return np.array(colours, np.uint8)[:, None, None, :] * np.ones((1, 8, 8, 1), np.uint8)


RED, GREEN, BLACK = (200, 0, 0), (0, 200, 0), (0, 0, 0)


def test_a_latent_frame_has_the_mean_of_the_frames_it_covers():
    frames = painted(RED, RED, GREEN, GREEN, RED, GREEN, BLACK, GREEN, BLACK)
    embedding, mask = face_track(frames, Brightness(), Brightness(), 4)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(embedding, [[1, 0, 0], [half, half, 0], [0, 1, 0]], atol=1e-6)
    np.testing.assert_array_equal(mask, [1, 1, 1])


def test_no_face_gives_exact_zeros_and_a_zero_mask():
    frames = painted(BLACK, RED, RED, BLACK, BLACK)
    embedding, mask = face_track(frames, Brightness(), Brightness(), 2)
    np.testing.assert_array_equal(mask, [0, 1, 0])
    assert not embedding[[0, 2]].any()
    assert np.isfinite(embedding).all()


@pytest.mark.parametrize(("count", "frames", "ratio", "latents"), [(3, 13, 4, 4), (2, 5, 1, 5), (1, 1, 4, 1)])
def test_clips_do_not_mix(count, frames, ratio, latents):
    clips = np.random.default_rng(0).integers(1, 255, (count, frames, 8, 8, 3)).astype(np.uint8)
    clips[-1] = 0
    embeddings, masks, _ = face_tracks(clips, Brightness(), Brightness(), ratio)
    assert embeddings.shape == (count, latents, 3)
    for clip, embedding, mask in zip(clips, embeddings, masks):
        one, one_mask = face_track(clip, Brightness(), Brightness(), ratio)
        np.testing.assert_array_equal(embedding, one)
        np.testing.assert_array_equal(mask, one_mask)
    assert not masks[-1].any()


class TwoPeople:
    """Finds a face in each half of a frame that is not black, and embeds its colour."""

    name, weight_hash, embedding_dim = "two", "none", 3
    # The right half's box is larger.
    boxes = ((0.0, 3.0), (4.0, 8.0))

    def __call__(self, frames):
        return [[face(x0, 0.0, x1, 8.0) for x0, x1 in self.boxes if frame[:, int(x0)].any()] for frame in frames]

    def embed(self, frames, faces):
        embeddings = np.zeros((len(frames), 3), np.float32)
        for row, (frame, each) in enumerate(zip(frames, faces)):
            if each is not None:
                colour = frame[0, int(each.box[0])].astype(np.float32)
                embeddings[row] = colour / np.linalg.norm(colour)
        return embeddings, embeddings.any(axis=1)


def two_halves(*pairs):
    frames = np.zeros((len(pairs), 8, 8, 3), np.uint8)
    for frame, (left, right) in zip(frames, pairs):
        frame[:, :4], frame[:, 4:] = left, right
    return frames


def test_the_track_stays_with_the_first_person_or_with_the_largest_face():
    people = TwoPeople()
    # Nobody; red alone; red is the smaller one; green alone; red is the larger one again.
    frames = two_halves((BLACK, BLACK), (RED, BLACK), (RED, GREEN), (GREEN, BLACK), (GREEN, RED))
    red, green, nobody = [1, 0, 0], [0, 1, 0], [0, 0, 0]
    embedding, mask = face_track(frames, people, people, 1)
    np.testing.assert_allclose(embedding, [nobody, red, green, green, red])
    embedding, mask = face_track(frames, people, people, 1, choice="first")
    np.testing.assert_allclose(embedding, [nobody, red, red, green, red])
    np.testing.assert_array_equal(mask, [0, 1, 1, 1, 1])
    # Of several in the first frame the largest one counts; every clip has its own.
    clips = np.stack([two_halves((GREEN, RED), (RED, GREEN)), two_halves((RED, GREEN), (GREEN, RED))])
    tracks = face_tracks(clips, people, people, 1, choice="first")
    np.testing.assert_allclose(tracks.embeddings, [[red, red], [green, green]])
    left, right = [0, 0, 3 / 8, 1], [4 / 8, 0, 1, 1]
    np.testing.assert_allclose(tracks.boxes, [[right, left], [right, left]])
    np.testing.assert_allclose(face_tracks(clips, people, people, 1).boxes, [[right] * 2] * 2)


class Walker:
    """Finds the one face of a frame where its only red pixel is, 2 pixels wide and 3 high."""

    name, weight_hash, embedding_dim = "walker", "none", 1

    def __call__(self, frames):
        places = [np.argwhere(frame[..., 0] == 255) for frame in frames]
        return [[face(x, y, x + 2.0, y + 3.0) for y, x in found] for found in places]

    def embed(self, frames, faces):
        found = np.array([each is not None for each in faces])
        return found[:, None].astype(np.float32), found


def test_boxes_are_means_over_the_frames_that_show_the_face_in_parts_of_the_clip():
    clips = np.zeros((2, 9, 10, 20, 3), np.uint8)
    # At (x, y) in frame 0; in two of the next four frames; in none of the last four.
    for frame, (x, y) in {0: (4, 1), 2: (6, 2), 3: (8, 6)}.items():
        clips[0, frame, y, x, 0] = 255
    tracks = face_tracks(clips, Walker(), Walker(), 4)
    np.testing.assert_allclose(tracks.boxes[0, 0], [4 / 20, 1 / 10, 6 / 20, 4 / 10], rtol=1e-6)
    np.testing.assert_allclose(tracks.boxes[0, 1], [7 / 20, 4 / 10, 9 / 20, 7 / 10], rtol=1e-6)
    assert not tracks.boxes[0, 2].any() and not tracks.boxes[1].any()
    np.testing.assert_array_equal(tracks.mask, [[1, 1, 0], [0, 0, 0]])


def test_a_clip_that_does_not_fit_the_ratio_is_refused():
    with pytest.raises(UserError, match="6 frames"):
        face_track(painted(*[RED] * 6), Brightness(), Brightness(), 4)


def test_the_largest_of_several_faces():
    assert largest([]) is None
    assert largest([face(), face(x1=9.0), face(y1=5.0)]).box[2] == 9
