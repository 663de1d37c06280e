"""Many clips from one file: what its lines may say, and what is made of them."""

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

from sr_jax.errors import UserError
from sr_jax.generation.generator import generate_one
from sr_jax.generation.many import generate_requests
from sr_jax.generation.prompt_file import Request, read_requests
from sr_jax.media.images import read_image
from sr_jax.media.video import read_video
from tests.evaluation.conftest import make_generator

TABLE = 'prompt,image,name,seed,negative_prompt\n"a, wall",a.png,wall,7,\nsea,a.png,,,rain\n'


@pytest.fixture
def folder(tmp_path):
    for name, shade in (("a", 200), ("b", 90)):
        Image.new("RGB", (20, 16), (shade, 50, 90)).save(tmp_path / f"{name}.png")
    return tmp_path


def _read(folder, text, suffix="jsonl"):
    path = folder / f"clips.{suffix}"
    path.write_text(text)
    return read_requests(path, negative_prompt="blur", seed=3)


def test_lines_of_both_kinds_of_file(folder):
    image = folder / "a.png"
    assert _read(folder, TABLE, "csv") == [
        Request("wall", image, "a, wall", "blur", 7),
        Request("0001", image, "sea", "rain", 3),
    ]
    lines = [
        {"image": "a.png", "prompt": "", "negative_prompt": ""},
        {"image": "a.png", "prompt": "b\u2028", "seed": 0},
    ]
    text = "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    assert _read(folder, f"\ufeff{text}\r\n") == [
        Request("0000", image, "", "", 3),
        Request("0001", image, "b\u2028", "blur", 0),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2: no JSON ("),
        ("[]", "line 2: it is no object with image, prompt"),
        ('{"image": "a.png"}', "line 2: prompt is None: it must be text"),
        ('{"image": "", "prompt": "b"}', "line 2: it names no image"),
        ('{"image": "c.png", "prompt": "b"}', "line 2: no image file "),
        ('{"image": "a.png", "prompt": "b", "prmopt": ""}', "line 2: unknown 'prmopt': there are image, prompt, "),
        (
            '{"image": "a.png", "prompt": "b", "seed": -1}',
            "line 2: seed is -1: it must be a whole number from 0",
        ),
        ('{"image": "a.png", "prompt": "b", "seed": 1.5}', "line 2: seed is 1.5"),
        ('{"image": "a.png", "prompt": "b", "seed": true}', "line 2: seed is True"),
        ('{"image": "a.png", "prompt": "b", "name": "../x"}', "line 2: the name '../x' is none of a file"),
        ('{"image": "a.png", "prompt": "b", "name": "First"}', "line 2: the name 'First' is that of line 1"),
    ],
)
def test_errors_name_the_line(folder, line, words):
    with pytest.raises(UserError, match=re.escape(words)):
        _read(folder, '{"image": "a.png", "prompt": "a", "name": "first"}\n' + line)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,prompt\na.png,b,c\n", "line 2: it has other columns than the header"),
        ("image,prompt\na.png\n", "line 2: it has other columns than the header"),
        ("image,prompt\n", "asks for no clip"),
        ('image,prompt\na.png,"b\n', "line 2: no table"),
        ("image,prompt,seed\na.png,b,x\n", "line 2: seed is 'x'"),
    ],
)
def test_tables_that_are_none(folder, text, words):
    with pytest.raises(UserError, match=words):
        _read(folder, text, "csv")


def test_other_files_are_refused(folder):
    with pytest.raises(UserError, match=r"clips\.txt must end in \.jsonl or \.csv"):
        _read(folder, "", "txt")
    with pytest.raises(UserError, match=r"none\.csv cannot be read"):
        read_requests(folder / "none.csv", negative_prompt="", seed=0)


def test_each_clip_is_what_it_would_be_alone(folder):
    images = [folder / f"{name}.png" for name in "aba"]
    requests = [Request(f"clip{number}", image, "abc"[number], "", number) for number, image in enumerate(images)]
    output = folder / "out"
    generate_requests(make_generator(batch_size=2), requests, output)
    videos = [read_video(output / f"{request.name}.mp4")[0] for request in requests]
    for request, video in zip(requests, videos, strict=True):
        alone = make_generator(batch_size=1, seed=request.seed)
        generate_one(alone, read_image(request.image), request.prompt, folder / "alone.mp4")
        # But for rounding, which the encoder carries on.
        assert np.abs(video.astype(int) - read_video(folder / "alone.mp4")[0]).mean() < 0.5
    assert np.abs(videos[0].astype(int) - videos[2]).mean() > 5
    asked = json.loads((output / "clip1.request.json").read_text())
    assert (asked["prompt"], asked["seed"]) == ("b", 1)

    # What is there stays, and a line that was changed is no other clip's.
    times = [(output / f"{request.name}.mp4").stat().st_mtime_ns for request in requests]
    (output / "clip1.mp4").unlink()
    generate_requests(make_generator(batch_size=2), requests, output)
    again = [(output / f"{request.name}.mp4").stat().st_mtime_ns for request in requests]
    assert [before == after for before, after in zip(times, again, strict=True)] == [True, False, True]
    with pytest.raises(UserError, match="holds a clip 'clip2' of another image, prompt or seed"):
        generate_requests(make_generator(), [dataclasses.replace(requests[2], seed=9)], output)
    with pytest.raises(UserError, match="made with checkpoint='w2', now it is 'w3'"):
        generate_requests(make_generator(checkpoint="w3"), requests, output)


def test_a_negative_prompt_without_guidance_is_refused(folder):
    generator = make_generator()
    generator = dataclasses.replace(generator, pipeline=dataclasses.replace(generator.pipeline, guided=False))
    with pytest.raises(UserError, match=r"counts with guidance only: set config\.guidance_scale above 1"):
        generate_requests(generator, [Request("a", folder / "a.png", "b", "rain", 0)], folder / "out")
    assert not (folder / "out").exists()
