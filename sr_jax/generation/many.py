"""Clips for many images and prompts."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import tqdm

from sr_jax.errors import UserError
from sr_jax.generation.clip_folder import PROMPTS_FILE, claim
from sr_jax.generation.generator import Generator
from sr_jax.generation.pipeline import require_guidance
from sr_jax.generation.prompt_file import Request
from sr_jax.generation.sampler import clip_key
from sr_jax.media.images import read_image
from sr_jax.media.video import write_pieces
from sr_jax.outputs import write_text

_GROUP = 64
"""Clips whose prompts are embedded, and images encoded, together: text encoder and autoencoder come and go as often."""


def generate_requests(generator: Generator, requests: Sequence[Request], output: Path) -> None:
    """Generates the clips of `read_requests` as `<name>.mp4`; those that are there already are kept.

    A clip is what it would be as a single one of the same image, prompts and seed.

    Args:
        generator: What generates.
        requests: The clips.
        output: Folder to write.

    Raises:
        UserError: When `output` holds clips of other settings or other requests, or a negative prompt cannot count;
            when what is generated holds NaN.
    """
    # Before anything is written.
    require_guidance([request.negative_prompt for request in requests], guided=generator.pipeline.guided)
    made_by = {name: value for name, value in generator.made_by.items() if name not in ("seed", "negative_prompt")}
    claim(output, made_by, PROMPTS_FILE)
    missing = [request for request in requests if not _is_there(request, output)]
    with tqdm.tqdm(total=len(requests), initial=len(requests) - len(missing), unit="clip", desc=output.name) as bar:
        for start in range(0, len(missing), _GROUP):
            _generate(generator, missing[start : start + _GROUP], output, bar)


def _generate(generator: Generator, requests: Sequence[Request], output: Path, bar: tqdm.tqdm) -> None:
    pipeline = generator.pipeline
    keys = jnp.stack([clip_key(request.seed, request.prompt) for request in requests])
    texts, unwanted = pipeline.embed(
        [request.prompt for request in requests], [request.negative_prompt for request in requests]
    )
    images = pipeline.encode([read_image(request.image) for request in requests], keys)
    for start in range(0, len(requests), generator.batch_size):
        batch = requests[start : start + generator.batch_size]
        # Filled up, so that one shape is compiled.
        rows = [min(start + row, len(requests) - 1) for row in range(generator.batch_size)]
        videos = pipeline.videos(
            [request.name for request in batch], keys[jnp.asarray(rows)], images[rows], texts[rows], unwanted[rows]
        )
        for request, video in zip(batch, videos, strict=True):
            write_text(_record(request, output), json.dumps(_asked(request), indent=2) + "\n")
            write_pieces(output / f"{request.name}.mp4", video, pipeline.clip.fps)
            bar.update()


def _is_there(request: Request, output: Path) -> bool:
    if not (output / f"{request.name}.mp4").is_file():
        return False
    record = _record(request, output)
    if not record.is_file() or json.loads(record.read_text()) != _asked(request):
        raise UserError(
            f"{output} holds a clip {request.name!r} of another image, prompt or seed: give this one another name, or "
            "choose another --output"
        )
    return True


def _record(request: Request, output: Path) -> Path:
    return output / f"{request.name}.request.json"


def _asked(request: Request) -> dict[str, str | int]:
    return dataclasses.asdict(request) | {"image": str(request.image.absolute())}
