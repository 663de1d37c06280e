"""Training low-rank factors of a frozen transformer, in a base run or in either stage two."""

import dataclasses

import jax
import ml_collections

from sr_jax.errors import UserError
from sr_jax.models.functional import Params
from sr_jax.models.lora import AdaptedFunctional, LoraConfig, join
from sr_jax.training.stages import Denoising
from sr_jax.training.state import Batch, Metrics


@dataclasses.dataclass(frozen=True)
class LoraStage:
    """A stage of which only the transformer's low-rank factors are trained, averaged and saved.

    The average is of each factor; the product of the averages is what sampling and export use.

    Attributes:
        modules: `{"lora": ...}`, whose parameters are the factors.
        stage: The stage itself; its transformer is the same adapted one.
    """

    modules: dict[str, AdaptedFunctional]
    stage: Denoising

    def draw(self, frozen: Params, batch: Batch, key: jax.Array) -> Batch:
        """The stage's own."""
        return self.stage.draw(frozen, batch, key)

    def loss(self, params: Params, frozen: Params, drawn: Batch) -> tuple[jax.Array, Metrics]:
        """The stage's loss with the factors `params["lora"]` beside the weights `frozen["transformer"]`."""
        transformer = join(frozen["transformer"], params["lora"])
        return self.stage.loss({"transformer": transformer}, frozen, drawn)


def lora_config(config: ml_collections.ConfigDict) -> LoraConfig | None:
    """What `config.lora` asks for; None when its rank is 0.

    Raises:
        UserError: For a rank below 0, or in a stage that trains no transformer.
    """
    lora = config.lora
    if lora.rank == 0:
        return None
    if lora.rank < 0:
        raise UserError(f"config.lora.rank is {lora.rank}: 0 trains the whole model, 1 or more that much of it")
    if config.stage == "stage_one":
        raise UserError(f"config.lora.rank is {lora.rank}, but stage one trains no transformer: set it to 0")
    return LoraConfig(lora.rank, lora.alpha, tuple(lora.targets))
