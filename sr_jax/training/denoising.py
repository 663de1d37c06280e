"""Base run, plain fine-tuning and stage two: the transformer learns to denoise, with any alignment objectives."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from jaxtyping import Array, Shaped

from sr_jax.alignment.base import View
from sr_jax.backbones.base import Backbone, Inputs, noisy_first_frame, pad_frames, padded_size
from sr_jax.checkpoints.networks import backbone_of, transformer_network
from sr_jax.checkpoints.reading import open_params
from sr_jax.checkpoints.transformers import fitted_transformer
from sr_jax.data.builder import read_empty_prompt
from sr_jax.diffusion.process import Process
from sr_jax.diffusion.time_density import TimeDensity
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional, Params
from sr_jax.training.denoising_terms import DenoisingTerms
from sr_jax.training.objectives import Objectives, build_objectives
from sr_jax.training.stages import Frozen, Terms, Work, drop, sample_posterior, total_and_metrics
from sr_jax.training.state import Batch, Drawn, Metrics, Progress, Running


@dataclasses.dataclass(frozen=True)
class Denoising:
    """Trains the transformer; with `structure` and `identity` as objectives it is SemanticREPA's stage two.

    Attributes:
        backbone: Of the transformer.
        transformer: The network.
        process: What it learns to predict.
        objectives: The alignment objectives; without any the step is compiled without them.
        frozen: The objectives' frozen networks, and with text dropout the `empty_prompt` `[L, D]`.
        image_dropout: Probability that a sample's image condition is zeroed.
        text_dropout: Probability that a sample's caption becomes the empty one (the unconditional side of guidance).
        start: Reads the parameters that do not start fresh.
        density: Of the times.
        denoising: `L_t`.
    """

    backbone: Backbone
    transformer: Functional
    process: Process
    objectives: Objectives
    frozen: Mapping[str, Frozen]
    image_dropout: float
    text_dropout: float
    start: Callable[[], Params]
    density: TimeDensity = dataclasses.field(default_factory=TimeDensity)
    denoising: DenoisingTerms = dataclasses.field(default_factory=DenoisingTerms)

    @property
    def modules(self) -> dict[str, Functional]:
        """The transformer, and what the objectives train beside it."""
        return {"transformer": self.transformer} | self.objectives.modules

    @property
    def fields(self) -> dict[str, str]:
        """Latents and captions, the image where the transformer takes one, and what the objectives read."""
        fields = {"latent_mean": "t h w c", "latent_std": "t h w c", "text_embedding": "l d"}
        if self.backbone.takes_image:
            fields["image_latents"] = "k 1 h w c"
        return fields | self._supervising_fields

    @property
    def _supervising_fields(self) -> dict[str, str]:
        """What losses read and the transformer does not."""
        return {**self.denoising.fields, **self.objectives.fields}

    @property
    def running(self) -> Running:
        """That of the objectives."""
        return self.objectives.running

    def transformer_params(self, params: Params, frozen: Params) -> Params:
        """What `transformer` samples with, of the parameters that are trained, raw or averaged."""
        return params["transformer"]

    def draw(self, frozen: Params, batch: Batch, key: jax.Array, progress: Progress) -> Drawn:
        """Latents, times, noise, condition and dropouts, and the objectives' weights; noise is of whole patches.

        Raises:
            UserError: For clips of which the condition gives all latent frames, or lacks noisy first frames.
        """
        keys = iter(jax.random.split(key, 6))
        latents = sample_posterior(batch["latent_mean"], batch["latent_std"], next(keys))
        given = self.backbone.given_frames
        if latents.shape[1] <= given:
            raise UserError(
                f"latents of T = {latents.shape[1]} teach nothing to a transformer that is given the first {given} of "
                "their frames: leave out still images (clip.still_images=False when preparing)"
            )
        padded = jax.eval_shape(lambda x: pad_frames(x, self.backbone.patch[0]), latents).shape
        times = self.process.times_at(self.density.sample(len(latents), next(keys)))
        noise = jax.random.normal(next(keys), padded)
        image_key, dropout_key = next(keys), next(keys)
        condition = self.backbone.condition(self._image(batch, latents.shape[1], image_key), padded[1])
        text = batch["text_embedding"]
        if self.text_dropout:
            text = drop(text, self.text_dropout, next(keys), instead=jnp.asarray(frozen["empty_prompt"]))
        return {
            "latents": latents,
            "times": times,
            "noise": noise,
            "text": text,
            "condition": {name: drop(x, self.image_dropout, dropout_key) for name, x in condition.items()},
            "records": {name: batch[name] for name in self._supervising_fields},
            "aligned": self.objectives.draw(len(latents), progress),
        }

    def _image(self, batch: Batch, num_frames: int, key: jax.Array) -> jax.Array | None:
        """What the transformer is given of each clip's first frame; None for one that takes no image.

        Of a still image that would be all there is to predict, so it gets zeros, as after image dropout.
        """
        if not self.backbone.takes_image:
            return None
        images = batch["image_latents"]
        return jnp.zeros_like(images[:, 0]) if num_frames == 1 else noisy_first_frame(images, key)

    def loss(self, params: Params, frozen: Params, drawn: Drawn) -> tuple[jax.Array, Metrics]:
        """`L_t + lambda_S L_S + lambda_ID L_ID`, averaged over the batch; every part also by range of times."""
        terms, times = self.terms(params, frozen, drawn)
        total, metrics = total_and_metrics(terms, self.process, times)
        return total, metrics | self.objectives.metrics(drawn["aligned"])

    def terms(self, params: Params, frozen: Params, drawn: Drawn) -> tuple[Terms, Shaped[Array, " b"]]:
        """`L_t` and the objectives that count, sample by sample."""
        noisy, prediction, hidden = self.predict(params, drawn)
        times, noise = drawn["times"], drawn["noise"]
        target = self.process.target(pad_frames(drawn["latents"], self.backbone.patch[0]), noise, times)
        terms = self.denoising(
            prediction, target, times, drawn["records"], process=self.process, backbone=self.backbone
        )
        if self.objectives.weighted:
            view = self.view(drawn, noisy, prediction, hidden)
            terms |= self.objectives.terms(params, frozen, view, drawn["aligned"], self.process)
        return terms, times

    def predict(self, params: Params, drawn: Drawn) -> tuple[jax.Array, jax.Array, Mapping[int, jax.Array]]:
        """`zt` of whole patches, what the transformer predicts of it, and what it has inside at the taps."""
        latents = pad_frames(drawn["latents"], self.backbone.patch[0])
        noisy = self.process.add_noise(latents, drawn["noise"], drawn["times"])
        network = functools.partial(self.transformer.apply, params["transformer"])
        inputs = Inputs(noisy, drawn["times"], drawn["text"], drawn["condition"])
        prediction, hidden = self.backbone.predict(network, inputs, self.objectives.taps)
        return noisy, prediction, hidden

    def view(self, drawn: Drawn, noisy: jax.Array, prediction: jax.Array, hidden: Mapping[int, jax.Array]) -> View:
        """What objectives look at, of what `predict` gave: without the frames that were added in front."""
        times, noise, num_frames = drawn["times"], drawn["noise"], drawn["latents"].shape[1]
        given = self.backbone.given_frames
        clean = self.process.predict_clean(noisy, prediction, times)
        if given:
            latents = pad_frames(drawn["latents"], self.backbone.patch[0])
            clean = jnp.concatenate([latents[:, :given], clean[:, given:]], axis=1)
        clean, noisy, noise = (x[:, -num_frames:] for x in (clean, noisy, noise))
        return View(clean, noisy, times, noise, hidden, drawn["records"])

    def advance(self, running: Running, metrics: Metrics) -> Running:
        """That of the objectives."""
        return self.objectives.advance(running, metrics)

    def work(self, size: tuple[int, int, int], text_length: int, *, trains_transformer: bool = True) -> Work:
        """The transformer's forward and backward pass, and what the objectives add.

        Args:
            size: T, H and W of the latents.
            text_length: Text tokens of a caption.
            trains_transformer: Whether its weights get gradients.
        """
        padded = padded_size(size, self.backbone.patch)
        flops = self.backbone.flops(padded, text_length)
        tokens = math.prod(self.backbone.tokens(padded)) + text_length
        return Work((flops.training if trains_transformer else flops.through) + self.objectives.flops(size), tokens)


def build_denoising(config: ml_collections.ConfigDict, instead: Mapping[str, Any] | None = None) -> Denoising:
    """The base run or stage two that `config` describes.

    Args:
        config: See `configs/`. Objectives with a weight of 0 are left out, but those that others read.
        instead: Config of stage one for objectives that name no workdir of their own; None: that is an error.

    Raises:
        UserError: For an option that is none of its values, or a workdir that is not there or lacks what is needed.
    """
    fields = config.to_dict()
    backbone = backbone_of(fields)
    process = backbone.process(fields["schedule"])
    objectives = build_objectives(fields, backbone, process, instead)
    frozen = {}
    for name, weighted in objectives.weighted.items():
        workdir = fields["alignment"][name].get("module", "")
        for part, network in weighted.objective.frozen.items():
            frozen[part] = Frozen(network.abstract, functools.partial(_read_module, workdir, part), workdir)
    if config.text_dropout:
        shape = jax.ShapeDtypeStruct(backbone.text_shape, jnp.float32)
        frozen["empty_prompt"] = Frozen(shape, lambda _: read_empty_prompt(config.data.dir))

    def start() -> Params:
        return {"transformer": fitted_transformer(config)} if config.init.transformer else {}

    return Denoising(
        backbone=backbone,
        transformer=transformer_network(backbone, dtype=config.dtype, remat=config.remat),
        process=process,
        objectives=objectives,
        frozen=frozen,
        image_dropout=config.image_dropout,
        text_dropout=config.text_dropout,
        start=start,
        density=TimeDensity(**fields["times"]),
        denoising=DenoisingTerms.of(fields["denoising"]),
    )


def _read_module(workdir: str, name: str, step: int | None) -> Params:
    return open_params(workdir, step=step)[0][name]
