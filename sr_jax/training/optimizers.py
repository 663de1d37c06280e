"""Optimizers and learning-rate schedules by name."""

import ml_collections
import optax

from sr_jax.errors import UserError


def learning_rate_schedule(config: ml_collections.ConfigDict, num_train_steps: int) -> optax.Schedule:
    """Linear warm-up to `config.learning_rate`, then constant or cosine to zero.

    Args:
        config: `learning_rate`, `warmup_steps`, `schedule` ("constant" or "cosine").
        num_train_steps: Where the cosine ends.

    Raises:
        UserError: For an unknown schedule.
    """
    warmup = optax.linear_schedule(0.0, config.learning_rate, max(config.warmup_steps, 1))
    if config.schedule == "constant":
        main = optax.constant_schedule(config.learning_rate)
    elif config.schedule == "cosine":
        main = optax.cosine_decay_schedule(config.learning_rate, max(num_train_steps - config.warmup_steps, 1))
    else:
        raise UserError(f"config.optimizer.schedule is {config.schedule!r}: choose constant or cosine")
    return optax.join_schedules([warmup, main], [config.warmup_steps])


def make_optimizer(config: ml_collections.ConfigDict, num_train_steps: int) -> optax.GradientTransformation:
    """AdamW behind a clip of the gradients' global norm.

    Args:
        config: `learning_rate`, `warmup_steps`, `schedule`, `b1`, `b2`, `eps`, `weight_decay`, `max_grad_norm`.
        num_train_steps: Length of the run, for the schedule.
    """
    adamw = optax.adamw(
        learning_rate_schedule(config, num_train_steps),
        b1=config.b1,
        b2=config.b2,
        eps=config.eps,
        weight_decay=config.weight_decay,
    )
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), adamw)
