import jax
import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional

from sr_jax.models.dinov2 import DINOv2, DINOv2Config, cubic_weights
from sr_jax.models.functional import Functional
from tests.models.video_depth_twin import relative_error

# transformers interpolates positions without the offset that the original adds.
TINY = DINOv2Config(hidden_size=24, num_layers=5, num_attention_heads=3, image_size=70, interpolate_offset=0.0)
TAPS = (0, 2, 3, 4)


def transformers_model() -> transformers.Dinov2Model:
    config = transformers.Dinov2Config(
        hidden_size=TINY.hidden_size,
        num_hidden_layers=TINY.num_layers,
        num_attention_heads=TINY.num_attention_heads,
        image_size=TINY.image_size,
        patch_size=14,
        layer_norm_eps=1e-6,
    )
    model = transformers.Dinov2Model(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.copy_(1 + 0.3 * noise)
            else:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
    return model


def our_params(model: transformers.Dinov2Model) -> dict:
    get = {name: tensor.numpy() for name, tensor in model.state_dict().items()}.__getitem__

    def module(name, linear):
        weight = get(f"{name}.weight")
        return {"kernel" if linear else "scale": weight.T if linear else weight, "bias": get(f"{name}.bias")}

    def block(layer):
        name = f"encoder.layer.{layer}"
        qkv = [module(f"{name}.attention.{part}", True) for part in ("q_proj", "k_proj", "v_proj")]
        return {
            "norm1": module(f"{name}.norm1", False),
            "qkv": {key: np.concatenate([part[key] for part in qkv], axis=-1) for key in ("kernel", "bias")},
            "proj": module(f"{name}.attention.o_proj", True),
            "ls1": get(f"{name}.layer_scale1.lambda1"),
            "norm2": module(f"{name}.norm2", False),
            "fc1": module(f"{name}.mlp.fc1", True),
            "fc2": module(f"{name}.mlp.fc2", True),
            "ls2": get(f"{name}.layer_scale2.lambda1"),
        }

    patches = "embeddings.patch_embeddings.projection"
    return {
        "patch_embed": {
            "kernel": get(f"{patches}.weight").reshape(TINY.hidden_size, -1).T,
            "bias": get(f"{patches}.bias"),
        },
        "cls_token": get("embeddings.cls_token")[0],
        "pos_embed": get("embeddings.position_embeddings")[0],
        "blocks": jax.tree.map(lambda *rows: np.stack(rows), *map(block, range(TINY.num_layers))),
        "norm": module("layernorm", False),
    }


@pytest.mark.parametrize("size", [(70, 70), (42, 98), (140, 84)])
def test_features_match_transformers(size):
    model = transformers_model()
    images = np.random.default_rng(0).standard_normal((2, *size, 3)).astype(np.float32)
    with torch.no_grad():
        states = model(torch.from_numpy(images).permute(0, 3, 1, 2), output_hidden_states=True).hidden_states
        # The first state is the embeddings'.
        expected = [model.layernorm(states[tap + 1])[:, 1:].numpy() for tap in TAPS]
    network = Functional(lambda rngs: DINOv2(TINY, rngs=rngs))
    got = jax.jit(network.apply, static_argnums=2)(our_params(model), images, TAPS)
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.shape == (2, size[0] // 14, size[1] // 14, TINY.hidden_size)
        assert relative_error(ours.reshape(theirs.shape), theirs) < 1e-5


@pytest.mark.parametrize(("length", "new_length"), [(37, 66), (37, 20), (5, 5), (5, 1), (16, 37)])
def test_positions_are_interpolated_as_pytorch_does_with_a_scale_factor(length, new_length):
    table = np.random.default_rng(1).standard_normal((length, 3)).astype(np.float32)
    image = torch.from_numpy(table.T.copy())[None, :, :, None]
    expected = functional.interpolate(image, scale_factor=((new_length + 0.1) / length, 1), mode="bicubic")
    got = cubic_weights(length, new_length, 0.1) @ table
    np.testing.assert_allclose(got, expected[0, :, :, 0].numpy().T, atol=1e-5)
