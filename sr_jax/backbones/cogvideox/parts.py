"""The parts of a CogVideoX pipeline that have weights, by the names of their folders."""

from sr_jax.backbones.cogvideox import transformer_weights, vae_identity, vae_weights
from sr_jax.backbones.cogvideox.config import RELEASED
from sr_jax.backbones.cogvideox.other_names import COMPUTED, OTHER_NAMES
from sr_jax.backbones.cogvideox.scheduler_config import config_to_diffusers
from sr_jax.backbones.cogvideox.transformer import CogVideoXTransformer3D
from sr_jax.backbones.cogvideox.vae_network import Autoencoder
from sr_jax.conversion import t5
from sr_jax.conversion.parts import DIFFUSERS_WEIGHTS, PartKind, Release
from sr_jax.diffusion.v_prediction import ScheduleConfig
from sr_jax.models.t5 import T5Encoder

_SCHEDULES = {"2b": ScheduleConfig(snr_shift_scale=3.0, sampler="ddim")}
_RELEASED = {
    name: Release(config, config_to_diffusers(_SCHEDULES.get(name, ScheduleConfig())))
    for name, config in RELEASED.items()
}

PARTS = {
    # Its item is the one that training and sampling load from a workdir.
    "transformer": PartKind(
        transformer_weights.CLASS_NAME,
        transformer_weights,
        CogVideoXTransformer3D,
        DIFFUSERS_WEIGHTS,
        "ema_params",
        other_names=OTHER_NAMES,
        released=_RELEASED,
        computed=COMPUTED,
    ),
    "vae": PartKind(
        "AutoencoderKLCogVideoX", vae_weights, Autoencoder, DIFFUSERS_WEIGHTS, "vae", identify=vae_identity.identify
    ),
    "text_encoder": PartKind("T5EncoderModel", t5, T5Encoder, "model", "text_encoder", t5.ALIASES, t5.identify),
}
