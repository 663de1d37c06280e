"""Stage one: the two alignment modules learn to read latents; they never see pixels (paper sections 3.2 and 3.3)."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import ml_collections
from jaxtyping import Array, Shaped

from sr_jax.alignment.base import Term
from sr_jax.alignment.identity import identity_config, identity_loss, identity_network
from sr_jax.alignment.identity_module import IdentityConfig, identity_flops
from sr_jax.alignment.structure import INPUTS, structure_loss, structure_network
from sr_jax.alignment.structure_module import structure_flops, with_empty_prompt
from sr_jax.backbones.base import Backbone, padded_size
from sr_jax.checkpoints.networks import backbone_of, structure_backbone_of
from sr_jax.checkpoints.reading import open_params
from sr_jax.checkpoints.transformers import load_transformer
from sr_jax.data.builder import read_empty_prompt
from sr_jax.diffusion.process import Process
from sr_jax.diffusion.time_density import TimeDensity
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional, Params
from sr_jax.training.stages import Frozen, Terms, Work, sample_posterior, total_and_metrics
from sr_jax.training.state import Batch, Drawn, Metrics, Progress, Running

MODULES = ("structure", "identity")
"""What `train_modules` names: both, or one of them."""
_FACES = {"face_embedding": "t e", "face_mask": "t"}


@dataclasses.dataclass(frozen=True)
class AlignmentModules:
    """Trains `f_S` and `f_ID`, or one of them.

    Attributes:
        modules: `{"structure": f_S, "identity": f_ID}`, or one of them.
        backbone: What `f_S` is a network of.
        with_text: Whether `f_S` reads the empty prompt.
        identity: Sizes of `f_ID`, which takes `d0` too when `use_depth` (the paper's choice).
        process: For the noisy variant of `f_S`.
        density: Of its times.
        structure_input: "clean" gives `z0` to `f_S` (the paper's choice), "noisy" gives `zt` and its timestep.
        start: Reads the parameters that do not start fresh.
    """

    modules: dict[str, Functional]
    backbone: Backbone
    with_text: bool
    identity: IdentityConfig
    process: Process
    density: TimeDensity
    structure_input: str
    start: Callable[[], Params]

    frozen: ClassVar[Mapping[str, Frozen]] = {}
    running: ClassVar[Running] = {}

    @property
    def fields(self) -> dict[str, str]:
        """Latents of clip and depth, and for `f_ID` the faces."""
        fields = {"latent_mean": "t h w c", "latent_std": "t h w c", "depth_latent": "t h w c"}
        return fields | (_FACES if "identity" in self.modules else {})

    def draw(self, frozen: Params, batch: Batch, key: jax.Array, progress: Progress) -> Drawn:
        """Latents, and for the noisy variant of `f_S` their times and noise."""
        posterior_key, noise_key, time_key = jax.random.split(key, 3)
        latents = sample_posterior(batch["latent_mean"], batch["latent_std"], posterior_key)
        drawn = {"latents": latents}
        if "structure" in self.modules and self.structure_input == "noisy":
            drawn["times"] = self.process.times_at(self.density.sample(len(latents), time_key))
            drawn["noise"] = jax.random.normal(noise_key, latents.shape)
        return drawn | {name: batch[name] for name in ("depth_latent", *_FACES) if name in self.fields}

    def loss(self, params: Params, frozen: Params, drawn: Drawn) -> tuple[jax.Array, Metrics]:
        """`mean((f_S(z0) - d0)^2)` plus the masked L1 of `f_ID(z0, d0)` to `f`, averaged over the batch."""
        terms, times = self.terms(params, frozen, drawn)
        return total_and_metrics(terms, self.process, times)

    def terms(self, params: Params, frozen: Params, drawn: Drawn) -> tuple[Terms, Shaped[Array, " b"] | None]:
        """The loss of each module that is trained, sample by sample."""
        latents, times = drawn["latents"], drawn.get("times")
        terms = {}
        if "structure" in self.modules:
            inputs = latents if times is None else self.process.add_noise(latents, drawn["noise"], times)
            depth_latents = self.modules["structure"].apply(params["structure"], inputs, times)
            value = structure_loss(depth_latents, drawn["depth_latent"])
            terms["structure"] = (jnp.ones(value.shape), Term(value, jnp.ones(value.shape, bool)))
        if "identity" in self.modules:
            condition = drawn["depth_latent"] if self.identity.use_depth else None
            embeddings = self.modules["identity"].apply(params["identity"], latents, condition)
            value = identity_loss(embeddings, drawn["face_embedding"], drawn["face_mask"])
            terms["identity"] = (jnp.ones(value.shape), Term(value, jnp.any(drawn["face_mask"] > 0, axis=-1)))
        return terms, times

    def advance(self, running: Running, metrics: Metrics) -> Running:
        """Nothing is carried on."""
        return running

    def work(self, size: tuple[int, int, int], text_length: int) -> Work:
        """Forward and backward pass of the modules that are trained; captions are not read."""
        flops = {
            "structure": structure_flops(self.backbone, self.with_text, size),
            "identity": identity_flops(self.identity, size),
        }
        tokens = math.prod(self.backbone.tokens(padded_size(size, self.backbone.patch)))
        tokens += self.backbone.text_shape[0] if self.with_text else 0
        return Work(sum(flops[name].training for name in self.modules), tokens)


def build_alignment_modules(config: ml_collections.ConfigDict) -> AlignmentModules:
    """The stage one that `config` describes.

    Its structure module starts from evenly spaced blocks of the transformer that `config.init.transformer` names, and
    with text holds the dataset's empty prompt; or both start as `config.init.modules` left them.

    Raises:
        UserError: For an option that is none of its values.
    """
    if config.lora.rank:
        raise UserError(f"config.lora.rank is {config.lora.rank}, but stage one trains no transformer: set it to 0")
    named = tuple(name for name in MODULES if name in config.train_modules)
    if not named or sorted(named) != sorted(config.train_modules):
        raise UserError(
            f"config.train_modules is {','.join(config.train_modules)!r}: choose one of structure; identity; "
            "structure,identity"
        )
    if config.structure_input not in INPUTS:
        raise UserError(f"config.structure_input is {config.structure_input!r}: choose one of {'; '.join(INPUTS)}")
    fields = config.to_dict()
    backbone, identity = structure_backbone_of(fields), identity_config(fields["identity"])
    networks = {
        "structure": structure_network(backbone, config.structure_text, dtype=config.dtype, remat=config.remat),
        "identity": identity_network(identity, dtype=config.dtype),
    }
    with_text = config.structure_text == "empty_prompt"
    if config.init.modules and config.init.transformer:
        raise UserError("config.init names both modules and a transformer: leave one of them empty")

    def start() -> Params:
        if config.init.modules:
            return _trained_modules(config, named)
        if "structure" not in named:
            return {}
        wanted, loaded = networks["structure"].abstract_params(), {}
        if with_text:
            loaded["empty_prompt"] = with_empty_prompt(wanted, read_empty_prompt(config.data.dir))["empty_prompt"]
        if config.init.transformer:
            params, meta = load_transformer(config.init.transformer)
            source = backbone_of(meta["config"])
            loaded["transformer"] = backbone.pruned_params(wanted["transformer"], params, source)
        return {"structure": loaded}

    return AlignmentModules(
        modules={name: networks[name] for name in named},
        backbone=backbone,
        with_text=with_text,
        identity=identity,
        process=backbone.process(fields["schedule"]),
        density=TimeDensity(**fields["times"]),
        structure_input=config.structure_input,
        start=start,
    )


def _trained_modules(config: ml_collections.ConfigDict, named: tuple[str, ...]) -> Params:
    """The averaged modules of the stage one that `config.init.modules` names.

    Raises:
        UserError: When that trained no such module, or one of other sizes or input.
    """
    source = config.init.modules
    params, meta = open_params(source)
    if lacking := [name for name in named if name not in params]:
        raise UserError(f"{source} trained no {lacking[0]} module: name a stage one that did in config.init.modules")
    for name in named:
        for key, (ours, theirs) in _DIFFERENCES[name](config.to_dict(), meta["config"]).items():
            raise UserError(f"config.{key} is {ours!r}, but {source} was trained with {theirs!r}")
    return {name: params[name] for name in named}


def _structure_differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Config keys in which two structure modules cannot share weights, with this one's value and the other's."""
    found = {key: (ours[key], theirs[key]) for key in ("backbone", "structure_input", "structure_text")}
    found = {key: values for key, values in found.items() if values[0] != values[1]}
    if "backbone" in found:
        return found
    sizes = structure_backbone_of(ours).differences(structure_backbone_of(theirs))
    return {f"structure.{key}": values for key, values in sizes.items()} | found


def _identity_differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The same of two identity modules."""
    sizes = [dataclasses.asdict(identity_config(config["identity"])) for config in (ours, theirs)]
    return {f"identity.{key}": (value, sizes[1][key]) for key, value in sizes[0].items() if value != sizes[1][key]}


_DIFFERENCES = {"structure": _structure_differences, "identity": _identity_differences}
