"""Configs of earlier versions in today's terms, so that what was trained with them is read."""

from typing import Any

from sr_jax.backbones.base import family_with_fields

_ALIGNMENT = ("structure", "identity")


def upgraded(config: dict[str, Any]) -> dict[str, Any]:
    """A training config, from the JSON beside a checkpoint, as this version writes it.

    Before backbones had names there was one for each set of fields of `model`; before objectives had sections, stage
    two had `structure_weight`, `identity_weight` and the workdirs `frozen.structure` and `frozen.identity`;
    before dataset and schedule were compared with the transformer that a run starts from, none was allowed to differ;
    before `optimizer.weight_decay_on` there was weight decay on all parameters; before `init.lora` every LoRA started
    fresh; before `lora.base_type` none had a model in int8.
    """
    config = dict(config)
    if "model" in config and "backbone" not in config:
        config["backbone"] = family_with_fields(config["model"])
    if "frozen" in config:
        modules = config.pop("frozen")
        config["alignment"] = {
            name: {"weight": config.pop(f"{name}_weight"), "module": modules[name]} for name in _ALIGNMENT
        }
    if "init" in config:
        config["init"] = {"may_differ": [], "lora": ""} | config["init"]
    if "lora" in config:
        config["lora"] = {"base_type": "frozen_dtype"} | config["lora"]
    if "optimizer" in config:
        config["optimizer"] = {"weight_decay_on": "all"} | config["optimizer"]
    return config
