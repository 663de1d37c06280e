import importlib.util
from itertools import product

import numpy as np
import pytest

from sr_jax.configs.prepare import get_config
from sr_jax.demo.people.captions import write_caption
from sr_jax.demo.people.clothes import sample_clothes
from sr_jax.demo.people.identities import make_person
from sr_jax.demo.people.motions import MOTIONS, SIDES
from sr_jax.demo.wordllama import WordLlamaText, sinusoids
from sr_jax.errors import UserError
from sr_jax.teachers.base import TextTeacher


@pytest.fixture(scope="module")
def teacher():
    return WordLlamaText(12)


def test_shape_padding_and_scale(teacher):
    prompts = ["a woman waves", "", "a man in a blue shirt walks to the left and jumps over a small red box, slowly"]
    embedding = teacher(prompts)
    assert embedding.shape == (3, 12, 256)
    assert embedding.dtype == np.float32
    used = np.abs(embedding).sum(axis=-1) > 0
    assert not used[1].any()
    assert used[2].all()
    count = used[0].sum()
    assert 3 <= count < 12
    assert used[0, :count].all()
    assert embedding[2].std() == pytest.approx(1, abs=0.35)
    assert isinstance(teacher, TextTeacher)
    assert len(teacher.weight_hash) == 16


def test_a_word_is_the_same_but_for_its_place(teacher):
    code = sinusoids(12, 256) / np.sqrt(1.5)
    one, two = teacher(["red hair", "hair red"])
    np.testing.assert_allclose(one[0] - code[0], two[1] - code[1], atol=1e-5)
    np.testing.assert_allclose(one[1] - code[1], two[0] - code[0], atol=1e-5)
    assert np.abs(one[0] - one[1]).max() > 0.5


def test_captions_do_not_depend_on_company(teacher):
    np.testing.assert_array_equal(teacher(["a dance", "a longer caption than that"])[0], teacher(["a dance"])[0])


def test_places_are_told_apart():
    code = sinusoids(24, 64)
    distances = np.linalg.norm(code[:, None] - code[None], axis=-1) + 10 * np.eye(24)
    assert distances.min() > 1
    np.testing.assert_allclose((code**2).mean(), 0.5, atol=1e-6)


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install wordllama"):
        WordLlamaText(4)


def test_what_is_cut_off_is_told(teacher):
    assert teacher.cut("a woman waves") == ""
    lost = teacher.cut("a woman in a red shirt walks to the left and waves, then laughs loudly")
    assert lost.endswith("then laughs loudly") and "woman" not in lost


def test_captions_of_rendered_people_are_never_cut():
    """What somebody does, which no first frame shows, stands at the end."""
    teacher = WordLlamaText(get_config("people").text.num_tokens)
    assert get_config("small").text == get_config("people").text
    for seed in range(60):
        person, clothes = make_person(seed), sample_clothes(np.random.default_rng(seed), "man")
        for motion, side in product(MOTIONS.values(), SIDES):
            caption = write_caption(person, clothes, motion.phrase.format(side=side), "orbit right")
            assert teacher.cut(caption) == "", caption
