"""Image and prompt to video, as one call (diffusers: `CogVideoXImageToVideoPipeline`)."""

import dataclasses
import itertools
import logging
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from PIL import Image

from sr_jax.backbones.base import ClipSize
from sr_jax.backbones.codec import VideoCodec
from sr_jax.errors import UserError
from sr_jax.generation.finite import require_finite_latents, require_finite_video
from sr_jax.generation.images import fit_image
from sr_jax.generation.sampler import Sampler, clip_key
from sr_jax.media.images import rgb_pixels
from sr_jax.media.video import to_uint8, to_unit_range
from sr_jax.parallel.placed import Placed
from sr_jax.teachers.base import TextTeacher

# `fold_in` of this makes the key of the image's latents from the key of a clip, which `split` turns into the others.
_IMAGE_KEY = 2
_THIS = "this clip"


@dataclasses.dataclass(frozen=True)
class ImageToVideo:
    """Everything between an image with a prompt and a video.

    What is large is on devices while it works: text encoder, then autoencoder, transformer, and autoencoder again.

    Attributes:
        sampler: The compiled sampler.
        transformer: The transformer's weights.
        codec: Encodes images and decodes latents, on the first device.
        text: Embeds prompts, on the first device.
        clip: Size of the videos.
        image_fit: How an image of another size is made to fit; see `fit_image`.
        guided: Whether prompts that are not wanted count.
        transformer_stays: Whether the transformer stays on its devices while clips are decoded.
        continued_to: Frames of a clip that goes on from its last frame, again and again; 0: none does.
    """

    sampler: Sampler
    transformer: Placed
    codec: VideoCodec
    text: TextTeacher
    clip: ClipSize
    image_fit: str
    guided: bool = True
    transformer_stays: bool = True
    continued_to: int = 0

    def __call__(
        self, image: np.ndarray | Image.Image, prompt: str, *, negative_prompt: str = "", seed: int = 0
    ) -> Float[np.ndarray, "f h w 3"]:
        """Generates a video; the device holds no more than a batch of its frames at a time.

        Args:
            image: The first frame, of any size: uint8 RGB pixels `[y, x, 3]`, or a PIL image.
            prompt: What happens.
            negative_prompt: What should not; without guidance it may not be given.
            seed: Of all noise, together with the prompt.

        Returns:
            The video, about in [-1, 1] (`sr_jax.media.video` writes it).

        Raises:
            UserError: When the image or the prompt is something else; when what is made holds NaN.
        """
        return np.concatenate(list(self.pieces(image, prompt, negative_prompt=negative_prompt, seed=seed)))

    def pieces(
        self, image: np.ndarray | Image.Image, prompt: str, *, negative_prompt: str = "", seed: int = 0
    ) -> Iterator[Float[np.ndarray, "f h w 3"]]:
        """The video as some frames after the other, for one that is too long to be held; otherwise as calling it."""
        _require_one_prompt(prompt)
        # A wrong image is told before the prompt is embedded.
        image, keys = rgb_pixels(image), clip_key(seed, prompt)[None]
        texts, unwanted = self.embed([prompt], [negative_prompt])
        [video] = self.videos([_THIS], keys, self.encode([image], keys), texts, unwanted)
        yield from video

    def latents(
        self, image: np.ndarray | Image.Image, prompt: str, key: Key[Array, ""], *, negative_prompt: str = ""
    ) -> Float[np.ndarray, "t h w c"]:
        """The scaled latents of a video, all noise from `key`; other arguments and errors as for the video."""
        _require_one_prompt(prompt)
        image = rgb_pixels(image)
        [text], [unwanted] = self.embed([prompt], [negative_prompt])
        latents = self.sample(key[None], self.encode([image], key[None]), text[None], unwanted[None])[0]
        require_finite_latents(latents, _THIS)
        return latents

    def embed(
        self, prompts: Sequence[str], negative_prompts: Sequence[str]
    ) -> tuple[Float[np.ndarray, "n l d"], Float[np.ndarray, "n l d"]]:
        """Embeds prompts and negative prompts, as many of each; then the text encoder leaves its device.

        Raises:
            UserError: When a negative prompt is given that cannot count.
        """
        require_guidance(negative_prompts, guided=self.guided)
        for prompt in prompts:
            if lost := self.text.cut(prompt):
                logging.warning("the prompt has more tokens than the model takes: %r at its end is not read", lost)
        every = list(dict.fromkeys([*prompts, *negative_prompts]))
        rows = dict(zip(every, self.text(every), strict=True))
        self.text.release()
        return np.stack([rows[prompt] for prompt in prompts]), np.stack([rows[prompt] for prompt in negative_prompts])

    def encode(
        self, images: Sequence[np.ndarray | Image.Image], keys: Key[Array, " n"]
    ) -> Float[np.ndarray, "n 1 h w c"]:
        """The latents of images of any size, a draw by each clip's key; then the autoencoder leaves its device."""
        rows = []
        for image, key in zip(images, keys, strict=True):
            pixels = to_unit_range(fit_image(rgb_pixels(image), self.clip.height, self.clip.width, self.image_fit))
            encoded = self.codec.encode_image(jnp.asarray(pixels[None]), jax.random.fold_in(key, _IMAGE_KEY))
            rows.append(np.asarray(encoded))
        self.codec.release()
        return np.concatenate(rows)

    def sample(
        self,
        keys: Key[Array, " b"],
        image_latents: Float[np.ndarray, "b 1 h w c"],
        texts: Float[np.ndarray, "b l d"],
        unwanted: Float[np.ndarray, "b l d"],
    ) -> Float[np.ndarray, "b t h w c"]:
        """Samples the latents of several clips, each from its own key, image latents and embedded prompts."""
        latents = np.asarray(self.sampler(self.transformer.tree, keys, image_latents, texts, unwanted))
        if not self.transformer_stays:
            self.transformer.release()
        return latents

    def videos(
        self,
        clips: Sequence[str],
        keys: Key[Array, " b"],
        image_latents: Float[np.ndarray, "b 1 h w c"],
        texts: Float[np.ndarray, "b l d"],
        unwanted: Float[np.ndarray, "b l d"],
    ) -> Iterator[Iterator[Float[np.ndarray, "f h w 3"]]]:
        """The videos of the first clips, one after the other, each as some frames after the other.

        Args:
            clips: Their names, for messages; at most as many as there are rows.
            keys: Of each clip's noise.
            image_latents: Of the first frames.
            texts: Embedded prompts.
            unwanted: Embedded negative prompts.

        Raises:
            UserError: When what is made holds NaN.
        """
        if self.continued_to:
            # Each from the first frame to the last: the parts of a clip need each other.
            for row in zip(clips, keys, image_latents, texts, unwanted):
                yield self._continued(*row)
            return
        for clip, latents in zip(clips, self.sample(keys, image_latents, texts, unwanted)):
            require_finite_latents(latents, clip)
            yield self.decode(latents, clip)

    def _continued(
        self,
        clip: str,
        key: Key[Array, ""],
        image: Float[np.ndarray, "1 h w c"],
        text: Float[np.ndarray, "l d"],
        unwanted: Float[np.ndarray, "l d"],
    ) -> Iterator[Float[np.ndarray, "f h w 3"]]:
        made, part_key = 0, key
        for part in itertools.count(1):
            latents = self.sample(part_key[None], image[None], text[None], unwanted[None])[0]
            require_finite_latents(latents, clip)
            # A part begins with the frame that the one before ends with.
            shown = part > 1
            for frames in self.decode(latents, clip):
                last, frames = frames[-1], frames[int(shown) :][: self.continued_to - made]
                made, shown = made + len(frames), False
                yield frames
            if made >= self.continued_to:
                return
            part_key = jax.random.fold_in(key, _IMAGE_KEY + part)
            image = self.encode([to_uint8(last)], part_key[None])[0]

    def decode(self, latents: Float[np.ndarray, "t h w c"], clip: str) -> Iterator[Float[np.ndarray, "f h w 3"]]:
        """The video of latents, some frames after the other; then the autoencoder leaves its device.

        Args:
            latents: Scaled latents.
            clip: The clip's name, for messages.

        Raises:
            UserError: When it holds NaN.
        """
        for frames in self.codec.decode_pieces(latents[None]):
            require_finite_video(frames[0], clip)
            yield frames[0]
        self.codec.release()


def require_guidance(negative_prompts: Sequence[str], *, guided: bool) -> None:
    """Checks that negative prompts can count.

    Raises:
        UserError: When there is one, and no guidance.
    """
    if not guided and any(negative_prompts):
        raise UserError("a negative prompt counts with guidance only: set config.guidance_scale above 1")


def _require_one_prompt(prompt: str) -> None:
    if not isinstance(prompt, str):
        raise UserError(f"the prompt is a {type(prompt).__name__}: give one string, and call once for each video")
