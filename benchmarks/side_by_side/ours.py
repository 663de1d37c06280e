"""The work as sr_jax does it. Weights are random."""

import itertools
import shutil
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.side_by_side.settings import TEXT_TOKENS, Settings
from benchmarks.side_by_side.workload import Workload, peak_bytes_of_process
from benchmarks.stage_two_step import measure_attention
from benchmarks.training_step import TrainingStep
from sr_jax.backbones.cogvideox import vae_network
from sr_jax.backbones.cogvideox.backbone import CogVideoX
from sr_jax.backbones.cogvideox.vae import CogVideoXVAE
from sr_jax.backbones.cogvideox.vae_tiling import Tiling
from sr_jax.checkpoints.networks import transformer_network
from sr_jax.configs import stage_one, stage_two
from sr_jax.data.pipeline import train_batches
from sr_jax.data.records import Provenance
from sr_jax.data.writing import write_dataset
from sr_jax.generation.sampler import Denoiser, SamplingSettings, sampling_function
from sr_jax.models import attention_kernels, video_depth
from sr_jax.models.functional import Functional
from sr_jax.models.t5 import T5Encoder
from sr_jax.models.video_depth import VideoDepthAnything
from sr_jax.teachers.depth.video_depth_anything import input_size_for
from sr_jax.training.builders import build_stage
from sr_jax.training.program import record_spec

_HEAD_DIM = 64
_RECORDS = 8
_CLIPS_PER_RUN = 16
# Prime, so that the rows of a matrix are not all the same.
_DRAWN = 1_000_003


class _Ours(Workload):
    def _about(self) -> dict[str, Any]:
        device = jax.local_devices()[0]
        stats = device.memory_stats()
        return {
            "device": device.device_kind,
            "framework": f"jax {jax.__version__}",
            "peak_gib": (stats["peak_bytes_in_use"] if stats else peak_bytes_of_process()) / 2**30,
        }


class _Compiled(_Ours):
    """A jitted function of abstract arguments, which are then drawn."""

    def __init__(self, function: Any, arguments: Any):
        self._function, self._abstract = jax.jit(function), arguments

    def _prepare(self) -> dict[str, Any]:
        self._compiled = self._function.lower(*self._abstract).compile()
        return _memory(self._compiled.memory_analysis())

    def _create(self) -> None:
        self._arguments = jax.block_until_ready(jax.jit(lambda: jax.tree.map(_draw, self._abstract))())

    def _run(self) -> None:
        jax.block_until_ready(self._compiled(*self._arguments))


class Attention(_Ours):
    """The device's attention kernel with its gradients, checked before it is timed."""

    def __init__(self, settings: Settings):
        self._tokens, self._heads = settings.tokens, settings.transformer.num_attention_heads

    def _prepare(self) -> dict[str, Any]:
        checked = measure_attention(self._tokens)
        return {name: checked[name] for name in ("kernel", "relative_errors", "tflops_per_second")}

    def _create(self) -> None:
        shape = (1, self._tokens, self._heads, _HEAD_DIM)
        self._inputs = [jax.random.normal(key, shape, jnp.bfloat16) for key in jax.random.split(jax.random.key(0), 3)]
        kernel = attention_kernels.choose(jax.default_backend(), *self._inputs[:2])

        def product(q: Any, k: Any, v: Any) -> Any:
            return jnp.sum(kernel(q, k, v, self._tokens).astype(jnp.float32) ** 2)

        self._gradients = jax.jit(jax.grad(product, argnums=(0, 1, 2)))

    def _run(self) -> None:
        jax.block_until_ready(self._gradients(*self._inputs))

    def _about(self) -> dict[str, Any]:
        # Two products forwards, five backwards.
        return super()._about() | {"flops": 7 * 2 * self._tokens**2 * self._heads * _HEAD_DIM}


class Training(_Ours):
    """A training step on one clip; `aligned` with both losses of stage two."""

    def __init__(self, settings: Settings, *, aligned: bool = False):
        config = _sized(stage_two.get_config("5b_i2v"), settings)
        config.batch_size = jax.device_count()
        config.param_dtype = config.optimizer.state_dtype = settings.storage
        if aligned:
            config.frozen_dtype = settings.storage
        else:
            config.alignment.structure.weight = config.alignment.identity.weight = 0.0
        self._step = TrainingStep(config, _sized(stage_one.get_config("5b_i2v"), settings).to_dict())
        self._loss = None

    def _prepare(self) -> dict[str, Any]:
        return _memory(self._step.compile())

    def _create(self) -> None:
        self._step.create()

    def _run(self) -> None:
        self._loss = jax.block_until_ready(self._step())

    def _about(self) -> dict[str, Any]:
        return super()._about() | {"flops": self._step.flops, "loss": float(self._loss.compute())}


class Forward(_Compiled):
    """The transformer on one clip, without gradients."""

    def __init__(self, settings: Settings):
        transformer, params = _transformer(settings)
        latents, text = _condition_shapes(settings)
        inputs = jax.ShapeDtypeStruct((*latents.shape[:4], 2 * latents.shape[4]), latents.dtype)
        super().__init__(transformer.apply, (params, inputs, text, jax.ShapeDtypeStruct((1,), jnp.int32)))


class Sampling(_Compiled):
    """Clean latents of one clip from noise, with dynamic guidance as released."""

    def __init__(self, settings: Settings):
        transformer, params = _transformer(settings)
        latents, text = _condition_shapes(settings)
        backbone = CogVideoX(settings.transformer)
        process = backbone.process({"snr_shift_scale": 1.0})
        asked = SamplingSettings("dpm", settings.sampling_steps, 6.0, "released")
        denoiser = Denoiser(backbone, transformer, process, asked)
        sampler = jax.jit(sampling_function(denoiser, num_frames=latents.shape[1]))
        image = jax.ShapeDtypeStruct((1, 1, *latents.shape[2:]), jnp.float32)
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
        no_text = jax.ShapeDtypeStruct(text.shape[1:], text.dtype)
        super().__init__(sampler, (params, keys, image, text, no_text))


class TextEncoder(_Ours):
    """T5 v1.1 XXL on padded prompts, its weights in the compute type as the teacher's; compiled by its first run."""

    def __init__(self, settings: Settings):
        config = settings.text_encoder
        self._encoder = Functional(lambda rngs: T5Encoder(config, rngs=rngs, dtype=settings.dtype))
        self._abstract = _stored(self._encoder, settings.dtype)
        self._ids = jnp.ones((settings.prompts, TEXT_TOKENS), jnp.int32)

    def _create(self) -> None:
        self._params = jax.block_until_ready(jax.jit(lambda: jax.tree.map(_draw, self._abstract))())

    def _run(self) -> None:
        jax.block_until_ready(self._encoder.apply(self._params, self._ids))


class Depth(_Compiled):
    """The depth teacher's network on a clip as large as it takes."""

    def __init__(self, settings: Settings):
        config = video_depth.RELEASED["small"]
        network = Functional(lambda rngs: VideoDepthAnything(config, rngs=rngs, dtype=settings.dtype))
        size = input_size_for((settings.height, settings.width), settings.depth_input, config.backbone.patch_size)
        frames = jax.ShapeDtypeStruct((1, settings.depth_frames, *size, 3), jnp.float32)
        super().__init__(network.apply, (network.abstract_params(), frames))


class Codec(_Ours):
    """The autoencoder on one clip, whole or in tiles; compiled by its first run."""

    def __init__(self, settings: Settings, *, way: str, tiled: bool):
        self._settings, self._way = settings, way
        self._config = settings.autoencoder
        self._tiling = Tiling(settings.tile_height, settings.tile_width) if tiled else None

    def _create(self) -> None:
        network = Functional(lambda rngs: vae_network.Autoencoder(self._config, rngs=rngs))
        params = jax.jit(lambda: jax.tree.map(_draw, network.abstract_params()))()
        codec = CogVideoXVAE(self._config, params, dtype=self._settings.dtype, tiling=self._tiling)
        settings = self._settings
        if self._way == "encode":
            shape, self._method = (1, settings.frames, settings.height, settings.width, 3), codec.encode
        else:
            shape, self._method = (1, *settings.latent_size, self._config.latent_channels), codec.decode
        self._input = jax.block_until_ready(jax.random.normal(jax.random.key(0), shape))

    def _run(self) -> None:
        jax.block_until_ready(self._method(self._input))


class Input(_Ours):
    """Batches from records on disk, without a device."""

    def __init__(self, settings: Settings):
        config = _sized(stage_two.get_config("5b_i2v"), settings)
        stage = build_stage(config, _sized(stage_one.get_config("5b_i2v"), settings).to_dict())
        self._spec = record_spec(config, stage, noisy_images=2)
        self._folder = tempfile.mkdtemp()

    def _prepare(self) -> dict[str, Any]:
        """Writes the records."""
        rng = np.random.default_rng(0)
        arrays = {name: rng.standard_normal(shape) for name, shape in self._spec.array_shapes().items()}
        record = self._spec.to_float16(arrays) | {"prompt": "", "source": "", "fps": 8.0, "source_first_frame": 0}
        write_dataset(
            self._folder,
            spec=self._spec,
            provenance=Provenance({}, {}, {"height": 0, "width": 0}, ""),
            empty_prompt=np.zeros(self._spec.text_shape, np.float32),
            splits={"train": {name: record | {"clip_id": name} for name in map(str, range(_RECORDS))}},
        )
        return {"record_mib": sum(array.nbytes for array in record.values() if hasattr(array, "nbytes")) / 2**20}

    def _create(self) -> None:
        self._batches = train_batches(self._folder, batch_size=1, seed=0)

    def _run(self) -> None:
        for _ in itertools.islice(self._batches, _CLIPS_PER_RUN):
            pass

    def _about(self) -> dict[str, Any]:
        shutil.rmtree(self._folder)
        return super()._about() | {"clips": _CLIPS_PER_RUN}


def _sized(config: Any, settings: Settings) -> Any:
    """A config of 5B-I2V at the size of `settings`."""
    sizes = {name: getattr(settings.transformer, name) for name in ("sample_frames", "sample_height", "sample_width")}
    sizes |= {"num_attention_heads": settings.heads}
    config.model.update(sizes | {"num_layers": settings.layers})
    config.structure.update(sizes | {"num_layers": settings.structure_layers})
    config.dtype, config.remat = settings.dtype, settings.remat
    return config


def _transformer(settings: Settings) -> tuple[Functional, Any]:
    transformer = transformer_network(CogVideoX(settings.transformer), dtype=settings.dtype)
    return transformer, _stored(transformer, settings.dtype)


def _condition_shapes(settings: Settings) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """Latents and text of one clip."""
    config = settings.transformer
    latents = jax.ShapeDtypeStruct((1, *settings.latent_size, config.out_channels), jnp.float32)
    return latents, jax.ShapeDtypeStruct((1, TEXT_TOKENS, config.text_embed_dim), jnp.float32)


def _stored(module: Functional, dtype: str) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(dtype)), module.abstract_params())


def _draw(leaf: jax.ShapeDtypeStruct) -> jax.Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.split(jax.random.key(0), leaf.shape[0])
    if jnp.issubdtype(leaf.dtype, jnp.integer):
        return jnp.ones(leaf.shape, leaf.dtype)
    # A few numbers again and again: billions of them take minutes to draw on a CPU.
    few = 0.02 * jax.random.normal(jax.random.key(0), (_DRAWN,), leaf.dtype)
    return jnp.resize(few, leaf.shape)


def _memory(analysis: Any) -> dict[str, float]:
    """GiB that XLA plans to hold at once."""
    parts = {"arguments": analysis.argument_size_in_bytes, "temporaries": analysis.temp_size_in_bytes}
    return {f"{name}_gib": part / 2**30 for name, part in parts.items()}
