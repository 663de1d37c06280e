"""The denoising loss as a term of what is trained: which noise counts more, and which places."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from sr_jax.alignment.base import Term
from sr_jax.backbones.base import Backbone, pad_frames
from sr_jax.data.fields import FACE_BOXES
from sr_jax.diffusion.box_weights import BoxWeights
from sr_jax.diffusion.denoising_loss import denoising_loss, min_snr_weights
from sr_jax.diffusion.process import Process


@dataclasses.dataclass(frozen=True)
class DenoisingTerms:
    """The `denoising` section of a config; the defaults are the plain loss.

    Attributes:
        min_snr_gamma: Of `min_snr_weights`; 0: all noise counts the same.
        face_weights: What a place counts inside and outside of the face's box.
    """

    min_snr_gamma: float = 0.0
    face_weights: BoxWeights = dataclasses.field(default_factory=BoxWeights)

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> "DenoisingTerms":
        """Those of a config's section.

        Raises:
            UserError: When no place counts.
        """
        return cls(section["min_snr_gamma"], BoxWeights(section["face_weight"], section["outside_weight"]))

    @property
    def fields(self) -> dict[str, str]:
        """The fields of records that they read."""
        return {} if self.face_weights.are_even else FACE_BOXES | {"face_mask": "t"}

    def __call__(
        self,
        prediction: Float[Array, "b t h w c"],
        target: Float[Array, "b t h w c"],
        times: Shaped[Array, " b"],
        records: Mapping[str, Array],
        *,
        process: Process,
        backbone: Backbone,
    ) -> dict[str, tuple[Float[Array, " b"], Term]]:
        """`L_t` by name, with what it counts.

        With weights of places `denoising` is still the plain loss, so that logs can be compared: it counts 0, and the
        weighted one, `denoising_faces`, is what is trained on. Of that, a clip with nothing that counts (outside counts
        0, and it has no face) is 0 and not counted. Leading frames that the backbone is given count in neither.

        Args:
            prediction: The transformer's, of whole patches.
            target: What it should be.
            times: Of the noisy latents.
            records: With the `fields`, of the frames of the clip: without those added in front.
            process: Of the times.
            backbone: Of the transformer.
        """
        weight = jnp.ones(times.shape)
        if self.min_snr_gamma:
            weight = min_snr_weights(process, times, self.min_snr_gamma)
        given = backbone.given_frames
        prediction, target = prediction[:, given:], target[:, given:]
        value = denoising_loss(prediction, target)
        plain = Term(value, jnp.ones(value.shape, bool))
        if self.face_weights.are_even:
            return {"denoising": (weight, plain)}
        boxes = jnp.where(records["face_mask"][..., None] > 0, records["face_boxes"], 0.0)
        places = self.face_weights.on_grid(boxes, *target.shape[2:4])
        # Frames that were added in front repeat the first one, and so do their weights.
        places = pad_frames(places[..., None], backbone.patch[0])[:, given:, ..., 0]
        weighted = Term(denoising_loss(prediction, target, places), jnp.any(places > 0, axis=(1, 2, 3)))
        return {"denoising": (jnp.zeros_like(weight), plain), "denoising_faces": (weight, weighted)}
