from pathlib import Path

import numpy as np
import pytest

from sr_jax.data.records import RecordSpec
from sr_jax.errors import UserError
from sr_jax.teachers.base import ClipBatch, FeatureTeacher
from sr_jax.teachers.tokens.fields import ImageTokens, token_fields
from tests.preparation.fakes import MeanCodec


class Colours:
    """Stands for a network: the mean colour of each quarter, and how many images it saw at a time."""

    name, weight_hash, settings = "colours", "c0", {"size": "2"}

    def __init__(self):
        self.calls = []

    def __call__(self, images):
        self.calls.append(len(images))
        n, height, width, _ = images.shape
        return images.reshape(n, 2, height // 2, 2, width // 2, 3).mean(axis=(2, 4)).astype(np.float32)


def clips(count, frames, rows):
    pixels = np.random.default_rng(0).integers(0, 256, (count, frames, 4, 6, 3)).astype(np.uint8)
    filled = np.concatenate([pixels, np.repeat(pixels[-1:], rows - count, axis=0)])
    return ClipBatch(filled, 8.0, [Path("a.mp4")] * rows, ["somebody"] * rows, count)


@pytest.mark.parametrize("how", ["last", "mean"])
@pytest.mark.parametrize(("count", "frames", "rows"), [(1, 5, 1), (2, 9, 3), (3, 1, 3)])
def test_tokens_of_latent_frames(how, count, frames, rows):
    encoder, batch = Colours(), clips(count, frames, rows)
    teacher = ImageTokens("quarter", encoder, frames=how, batch_size=4)
    assert isinstance(teacher, FeatureTeacher)
    tokens = np.asarray(teacher(batch, MeanCodec())["quarter_tokens"])
    every = batch.frames.reshape(rows, frames, 2, 2, 2, 3, 3).mean(axis=(3, 5))
    expected = [every[:, :1]]
    for start in range(1, frames, 4):
        group = every[:, start : start + 4]
        expected.append(group[:, -1:] if how == "last" else group.mean(axis=1, keepdims=True))
    np.testing.assert_allclose(tokens, np.concatenate(expected, axis=1), atol=1e-4)
    # One shape, and nothing twice.
    seen = count * (1 + (frames - 1) // 4 if how == "last" else frames)
    assert encoder.calls == [4] * -(-seen // 4)
    assert teacher.provenance("quarter") == {
        "quarter": {"name": "colours", "weight_hash": "c0", "size": "2", "frames": how}
    }


def test_teachers_of_one_record_have_grids_of_their_own():
    fields = {"text_embedding": "l d"} | token_fields("one") | token_fields("two")
    shapes = {"text_embedding": (24, 256), "one_tokens": (4, 7, 7, 128), "two_tokens": (4, 16, 24, 768)}
    assert RecordSpec.of(fields, shapes, {"t": 4}).array_shapes() == shapes
    with pytest.raises(ValueError, match=r"axis t of .* has size 4"):
        RecordSpec.of(fields, shapes | {"two_tokens": (5, 16, 24, 768)}, {"t": 4})


def test_another_word_for_frames_is_refused():
    with pytest.raises(UserError, match=r"features\.quarter\.frames is 'first': choose one of last, mean"):
        ImageTokens("quarter", Colours(), frames="first")
