"""What each stage trains and its loss.

A stage is its modules and two pure functions: `draw(frozen, batch, key) -> drawn` makes every random choice,
`loss(params, frozen, drawn) -> (loss, metrics)` none. The trainer (`loop.py`) knows nothing else about it.
"""

import dataclasses
import itertools
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sr_jax.alignment.identity import identity_loss
from sr_jax.alignment.structure import structure_loss
from sr_jax.backbones.cogvideox.transformer import pad_frames
from sr_jax.diffusion.denoising_loss import denoising_loss
from sr_jax.diffusion.v_prediction import VPrediction
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional, Params
from sr_jax.training.state import Batch, Loss, Metrics, average

NUM_TIMESTEP_BINS = 5


@runtime_checkable
class Stage(Loss, Protocol):
    """What the trainer needs to know about a stage."""

    modules: dict[str, Functional]
    """The trained modules; `params` is a dict with the same keys."""


@dataclasses.dataclass(frozen=True)
class Alignment:
    """The two supervision signals of stage two, on the predicted clean latent.

    Attributes:
        structure_weight: `lambda_S`.
        identity_weight: `lambda_ID`.
        structure: `f_S`, frozen; None where no loss needs it.
        structure_input: "clean" feeds `z0_hat` to `f_S` (the paper's choice), "noisy" feeds `zt` and its timestep.
        identity: `f_ID`, frozen; None where its weight is 0.
        identity_uses_depth: Whether `f_ID` takes the predicted structure too (the paper's choice).
    """

    structure_weight: float
    identity_weight: float
    structure: Functional | None = None
    structure_input: str = "clean"
    identity: Functional | None = None
    identity_uses_depth: bool = False

    def losses(
        self,
        frozen: Params,
        clean: Float[Array, "b t h w c"],
        noisy: Float[Array, "b t h w c"],
        timesteps: Int[Array, "b"],
        batch: Batch,
    ) -> dict[str, tuple[float, Float[Array, "b"]]]:
        """Weight and per-sample value of each alignment loss whose weight is not 0.

        Args:
            frozen: Parameters `{"structure": ..., "identity": ...}` of the modules that there are; gradients flow
                through them, not into them.
            clean: `z0_hat`, the transformer's predicted clean latent.
            noisy: `zt`.
            timesteps: Of `zt`.
            batch: The records' `depth_latent`, `face_embedding` and `face_mask`.
        """
        losses = {}
        depth_latents = None
        if self.structure is not None:
            inputs = (noisy, timesteps) if self.structure_input == "noisy" else (clean,)
            depth_latents = self.structure.apply(frozen["structure"], *inputs)
        if self.structure_weight:
            losses["structure"] = (self.structure_weight, structure_loss(depth_latents, batch["depth_latent"]))
        if self.identity is not None:
            # The predicted structure, not the teacher's, feeds f_ID: it acts as an implicit face mask.
            condition = depth_latents if self.identity_uses_depth else None
            embeddings = self.identity.apply(frozen["identity"], clean, condition)
            value = identity_loss(embeddings, batch["face_embedding"], batch["face_mask"])
            losses["identity"] = (self.identity_weight, value)
        return losses


@dataclasses.dataclass(frozen=True)
class Denoising:
    """Trains the transformer: the base run, plain fine-tuning and, with an `alignment`, SemanticREPA's stage two.

    Attributes:
        modules: `{"transformer": ...}`.
        schedule: The noise schedule.
        image_dropout: Probability that a sample's image latent is zeroed.
        text_dropout: Probability that a sample's caption becomes the empty one (the unconditional side of guidance).
        image_to_video: Whether the transformer takes the image latent behind the noisy one.
        temporal_patch: Latent frames in a patch of the transformer; see `pad_frames`.
        alignment: None compiles the step without the frozen modules.
    """

    modules: dict[str, Functional]
    schedule: VPrediction
    image_dropout: float
    text_dropout: float
    image_to_video: bool
    temporal_patch: int
    alignment: Alignment | None

    def draw(self, frozen: Params, batch: Batch, key: jax.Array) -> Batch:
        """Latents, timesteps, noise, image condition and dropouts.

        Text dropout reads `frozen["empty_prompt"]`, the embedding `[L, D]` that sampling has for no prompt.
        """
        keys = iter(jax.random.split(key, 6))
        latents = sample_posterior(batch["latent_mean"], batch["latent_std"], next(keys))
        latents = pad_frames(latents, self.temporal_patch)
        timesteps = sample_timesteps(len(latents), self.schedule.config.num_train_timesteps, next(keys))
        noise = jax.random.normal(next(keys), latents.shape)
        image_key, dropout_key = next(keys), next(keys)
        text = batch["text_embedding"]
        if self.text_dropout:
            text = drop(text, self.text_dropout, next(keys), instead=jnp.asarray(frozen["empty_prompt"]))
        drawn = {"latents": latents, "timesteps": timesteps, "noise": noise, "text": text}
        if self.image_to_video:
            image = image_condition(batch["image_latents"], latents.shape[1], image_key)
            drawn["image"] = drop(image, self.image_dropout, dropout_key)
        return drawn | _targets(batch)

    def loss(self, params: Params, frozen: Params, drawn: Batch) -> tuple[jax.Array, Metrics]:
        """`L_t + lambda_S L_S + lambda_ID L_ID`, averaged over the batch; every part also by timestep bin."""
        latents, timesteps, noise = drawn["latents"], drawn["timesteps"], drawn["noise"]
        noisy = self.schedule.add_noise(latents, noise, timesteps)
        inputs = jnp.concatenate([noisy, drawn["image"]], axis=-1) if self.image_to_video else noisy
        velocity = self.modules["transformer"].apply(params["transformer"], inputs, drawn["text"], timesteps)
        losses = {"denoising": (1.0, denoising_loss(velocity, self.schedule.target(latents, noise, timesteps)))}
        if self.alignment is not None:
            clean = self.schedule.predict_clean(noisy, velocity, timesteps)
            num_frames = drawn["depth_latent"].shape[1]
            clean, noisy = clean[:, -num_frames:], noisy[:, -num_frames:]
            losses |= self.alignment.losses(frozen, clean, noisy, timesteps, drawn)
        return total_and_metrics(losses, drawn, timesteps, self.schedule.config.num_train_timesteps)


@dataclasses.dataclass(frozen=True)
class AlignmentModules:
    """Stage one: teaches the two alignment modules to read latents; they never see pixels.

    Attributes:
        modules: `{"structure": f_S, "identity": f_ID}`, or one of them.
        schedule: The noise schedule, for the noisy variant of `f_S`.
        structure_input: "clean" gives `z0` to `f_S` (the paper's choice), "noisy" gives `zt` and its timestep.
        identity_uses_depth: Whether `f_ID` takes `d0` too (the paper's choice).
    """

    modules: dict[str, Functional]
    schedule: VPrediction
    structure_input: str
    identity_uses_depth: bool

    def draw(self, frozen: Params, batch: Batch, key: jax.Array) -> Batch:
        """Latents, and for the noisy variant of `f_S` their timesteps and noise."""
        posterior_key, noise_key, timestep_key = jax.random.split(key, 3)
        latents = sample_posterior(batch["latent_mean"], batch["latent_std"], posterior_key)
        drawn = {"latents": latents}
        if "structure" in self.modules and self.structure_input == "noisy":
            num_timesteps = self.schedule.config.num_train_timesteps
            drawn["timesteps"] = sample_timesteps(len(latents), num_timesteps, timestep_key)
            drawn["noise"] = jax.random.normal(noise_key, latents.shape)
        return drawn | _targets(batch)

    def loss(self, params: Params, frozen: Params, drawn: Batch) -> tuple[jax.Array, Metrics]:
        """`mean((f_S(z0) - d0)^2)` plus the masked L1 of `f_ID(z0, d0)` to `f`, averaged over the batch."""
        latents, timesteps = drawn["latents"], drawn.get("timesteps")
        losses = {}
        if "structure" in self.modules:
            inputs = latents if timesteps is None else self.schedule.add_noise(latents, drawn["noise"], timesteps)
            depth_latents = self.modules["structure"].apply(params["structure"], inputs, timesteps)
            losses["structure"] = (1.0, structure_loss(depth_latents, drawn["depth_latent"]))
        if "identity" in self.modules:
            condition = drawn["depth_latent"] if self.identity_uses_depth else None
            embeddings = self.modules["identity"].apply(params["identity"], latents, condition)
            value = identity_loss(embeddings, drawn["face_embedding"], drawn["face_mask"])
            losses["identity"] = (1.0, value)
        return total_and_metrics(losses, drawn, timesteps, self.schedule.config.num_train_timesteps)


def _targets(batch: Batch) -> Batch:
    return {name: batch[name] for name in ("depth_latent", "face_embedding", "face_mask")}


def sample_timesteps(batch_size: int, num_train_timesteps: int, key: jax.Array) -> Int[Array, "{batch_size}"]:
    """Draws uniform timesteps that are spread evenly over the batch.

    Each one is uniform on `0 .. num_train_timesteps - 1`, as in the CogVideoX trainers. One random shift of an even
    grid gives the batch's mean loss less variance than independent draws do (Kingma et al. 2021, Variational
    Diffusion Models, appendix I.1).
    """
    grid = (jax.random.uniform(key) + jnp.arange(batch_size) / batch_size) % 1.0
    # The product can round up to num_train_timesteps.
    return jnp.minimum((grid * num_train_timesteps).astype(jnp.int32), num_train_timesteps - 1)


def sample_posterior(
    mean: Float[Array, "b t h w c"], std: Float[Array, "b t h w c"], key: jax.Array
) -> Float[Array, "b t h w c"]:
    """Draws `z0` from the codec's posterior, as the CogVideoX trainers do."""
    return mean + std * jax.random.normal(key, mean.shape)


def image_condition(
    image_latents: Float[Array, "b k 1 h w c"], num_latent_frames: int, key: jax.Array
) -> Float[Array, "b {num_latent_frames} h w c"]:
    """The image condition of training: one of the noisy draws on frame 0, zeros on the other frames.

    Args:
        image_latents: Draw 0 is the clean image, which sampling uses; draws 1.. are of the noisy image.
        num_latent_frames: T.
        key: Chooses a noisy draw for each sample.

    Raises:
        UserError: When there is no noisy draw.
    """
    batch_size, num_draws = image_latents.shape[:2]
    if num_draws < 2:
        raise UserError("they have no noisy first frames: prepare the videos with config.noisy_images of 1 or more")
    chosen = jax.random.randint(key, (batch_size,), 1, num_draws)
    first = jnp.take_along_axis(image_latents, chosen[:, None, None, None, None, None], axis=1)[:, 0]
    return jnp.pad(first, ((0, 0), (0, num_latent_frames - 1), (0, 0), (0, 0), (0, 0)))


def drop(
    values: Float[Array, "b *shape"],
    probability: float,
    key: jax.Array,
    *,
    instead: Float[Array, "*shape"] | float = 0.0,
) -> Float[Array, "b *shape"]:
    """Replaces whole samples with the given probability."""
    keep = jax.random.bernoulli(key, 1.0 - probability, values.shape[:1])
    return jnp.where(keep.reshape(-1, *[1] * (values.ndim - 1)), values, instead)


def total_and_metrics(
    losses: dict[str, tuple[float, Float[Array, "b"]]],
    batch: Batch,
    timesteps: Int[Array, "b"] | None,
    num_train_timesteps: int,
) -> tuple[jax.Array, Metrics]:
    """The weighted sum of the losses' batch means, and every loss as a metric, overall and by timestep bin.

    The identity metric averages over the clips that have a face; in the total a clip without one counts as 0.

    Args:
        losses: Weight and per-sample value by name.
        batch: For its `face_mask`.
        timesteps: Of each sample; None when the stage adds no noise, and then there are no bins.
        num_train_timesteps: The bins split `0 .. num_train_timesteps - 1` evenly.
    """
    total = sum(weight * jnp.mean(value) for weight, value in losses.values())
    metrics = {"loss": average(total[None])}
    has_face = jnp.any(batch["face_mask"] > 0, axis=-1)
    for name, (_, value) in losses.items():
        counted = has_face if name == "identity" else jnp.ones_like(has_face)
        metrics[f"loss/{name}"] = average(value, counted)
        for low, high in timestep_bins(num_train_timesteps) if timesteps is not None else ():
            inside = counted & (timesteps >= low) & (timesteps < high)
            metrics[f"loss/{name}/t{low:03d}-{high:03d}"] = average(value, inside)
    return total, metrics


def timestep_bins(num_train_timesteps: int) -> list[tuple[int, int]]:
    """`[low, high)` bounds of the bins in which every loss is logged."""
    edges = [num_train_timesteps * i // NUM_TIMESTEP_BINS for i in range(NUM_TIMESTEP_BINS + 1)]
    return list(itertools.pairwise(edges))
