"""Training low-rank factors of a frozen transformer, in a base run or in either stage two."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import ml_collections
from flax import traverse_util
from jaxtyping import Array, Shaped

from sr_jax.backbones.base import Backbone
from sr_jax.checkpoints.loras import read_lora_file
from sr_jax.checkpoints.transformers import fitted_transformer
from sr_jax.diffusion.process import Process
from sr_jax.errors import UserError
from sr_jax.models.functional import Functional, Params
from sr_jax.models.int8 import Int8Functional, quantised
from sr_jax.models.lora import AdaptedFunctional, LoraConfig, join
from sr_jax.training.denoising import Denoising
from sr_jax.training.stages import Frozen, Terms, Work
from sr_jax.training.state import Batch, Drawn, Metrics, Progress, Running


@dataclasses.dataclass(frozen=True)
class LoraStage:
    """A stage of whose transformer only low-rank factors are trained, averaged and saved.

    The average is of each factor; the product of the averages is what sampling and export use.

    Attributes:
        adapted: The transformer, whose parameters are the factors.
        stage: The stage itself; its transformer is the same adapted one.
        base: The transformer's own weights.
        begin: Reads the factors that training starts from; None: they start fresh.
    """

    adapted: AdaptedFunctional
    stage: Denoising
    base: Frozen
    begin: Callable[[], Params] | None = None

    @property
    def modules(self) -> dict[str, Functional]:
        """The factors, `lora`, and what the objectives train."""
        others = {name: module for name, module in self.stage.modules.items() if name != "transformer"}
        return {"lora": self.adapted} | others

    @property
    def frozen(self) -> dict[str, Frozen]:
        """The stage's, and the weights that the factors adapt."""
        return {**self.stage.frozen, "transformer": self.base}

    @property
    def fields(self) -> dict[str, str]:
        """The stage's own."""
        return self.stage.fields

    @property
    def backbone(self) -> Backbone:
        """The stage's own."""
        return self.stage.backbone

    @property
    def transformer(self) -> Functional:
        """The adapted one."""
        return self.adapted

    @property
    def process(self) -> Process:
        """The stage's own."""
        return self.stage.process

    @property
    def running(self) -> Running:
        """The stage's own."""
        return self.stage.running

    def start(self) -> Params:
        """The factors of a LoRA file, where one is named; all else starts fresh.

        Raises:
            UserError: When the file is no LoRA of the transformer, or one of other layers or another rank.
        """
        return {"lora": self.begin()} if self.begin else {}

    def draw(self, frozen: Params, batch: Batch, key: jax.Array, progress: Progress) -> Drawn:
        """The stage's own."""
        return self.stage.draw(frozen, batch, key, progress)

    def loss(self, params: Params, frozen: Params, drawn: Drawn) -> tuple[jax.Array, Metrics]:
        """The stage's loss with the factors `params["lora"]` beside the weights `frozen["transformer"]`."""
        return self.stage.loss(self._joined(params, frozen), frozen, drawn)

    def terms(self, params: Params, frozen: Params, drawn: Drawn) -> tuple[Terms, Shaped[Array, " b"]]:
        """The stage's, likewise."""
        return self.stage.terms(self._joined(params, frozen), frozen, drawn)

    def _joined(self, params: Params, frozen: Params) -> Params:
        return params | {"transformer": self.transformer_params(params, frozen)}

    def transformer_params(self, params: Params, frozen: Params) -> Params:
        """The factors beside the weights that they adapt."""
        return join(frozen["transformer"], params["lora"])

    def advance(self, running: Running, metrics: Metrics) -> Running:
        """The stage's own."""
        return self.stage.advance(running, metrics)

    def work(self, size: tuple[int, int, int], text_length: int) -> Work:
        """The stage's, without gradients of the transformer's own weights.

        The products of the factors are left out: at rank 64 they are 1% of the transformer's.
        """
        return self.stage.work(size, text_length, trains_transformer=False)


def with_lora(stage: Denoising, config: ml_collections.ConfigDict) -> LoraStage:
    """The stage that trains low-rank factors in the place of the transformer, as `config.lora` asks for.

    Raises:
        UserError: For a rank below 0, targets that name no layer, or int8 where the backbone's blocks are not stacked.
    """
    lora = config.lora
    if lora.rank < 0:
        raise UserError(f"config.lora.rank is {lora.rank}: 0 trains the whole model, 1 or more that much of it")
    in_int8 = lora.base_type == "int8"
    own = Int8Functional(stage.transformer) if in_int8 else stage.transformer
    adapted = AdaptedFunctional(own, LoraConfig(lora.rank, lora.alpha, tuple(lora.targets)))

    def read(step: int | None) -> Params:
        if not config.init.transformer:
            raise UserError(
                f"config.init.transformer is empty: with config.lora.rank={lora.rank}, name the workdir of a trained "
                "transformer, or an import of released weights"
            )
        params = fitted_transformer(config, step=step)
        return quantised(params, own.abstract_params()) if in_int8 else params

    base = Frozen(adapted.frozen, read, config.init.transformer)
    begin = functools.partial(_factors_to_go_on_with, config, adapted, stage) if config.init.lora else None
    return LoraStage(adapted, dataclasses.replace(stage, transformer=adapted), base, begin)


def _factors_to_go_on_with(config: ml_collections.ConfigDict, adapted: AdaptedFunctional, stage: Denoising) -> Params:
    """The factors of `config.init.lora`, whose product counts `alpha / rank` times here and once there."""
    path, lora = config.init.lora, config.lora
    found = traverse_util.flatten_dict(read_lora_file(path, stage.backbone))
    wanted = traverse_util.flatten_dict(adapted.abstract_params())
    if found.keys() != wanted.keys():
        targets = sorted({".".join(map(str, names[-3:-1])) for names in found})
        raise UserError(
            f"config.lora.targets are other layers than {path} adapts: set --config.lora.targets to its own, which "
            f"are {', '.join(targets)}"
        )
    downs = {names: leaf for names, leaf in found.items() if names[-1] == "lora_a"}
    ranks = {leaf.shape[-1] for leaf in downs.values()}
    if ranks != {lora.rank}:
        raise UserError(
            f"config.lora.rank is {lora.rank}, but {path} has {', '.join(map(str, sorted(ranks)))}: set it to that; "
            "a LoRA of several ranks can be merged, not trained further"
        )
    # What a block lacks is 0 in both factors, and would stay so.
    lacking = sorted(".".join(map(str, names[:-1])) for names, leaf in downs.items() if not leaf.any(axis=-2).all())
    if lacking:
        raise UserError(
            f"{path} lacks factors, or has fewer of them, in some blocks of {', '.join(lacking)}: it can be merged, "
            "not trained further"
        )
    once = lora.rank / lora.alpha
    return traverse_util.unflatten_dict(
        {names: leaf if names[-1] == "lora_a" else once * leaf for names, leaf in found.items()}
    )
