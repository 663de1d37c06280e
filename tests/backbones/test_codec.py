import pytest

from sr_jax.backbones import load_codec
from sr_jax.backbones.codec import latent_frames
from sr_jax.errors import UserError


@pytest.mark.parametrize(("frames", "ratio", "expected"), [(1, 4, 1), (13, 4, 4), (49, 4, 13), (5, 1, 5), (7, 2, 4)])
def test_latent_frames(frames, ratio, expected):
    assert latent_frames(frames, ratio) == expected


@pytest.mark.parametrize("frames", [0, 2, 12, 14])
def test_latent_frames_refuses_a_clip_that_does_not_fit(frames):
    shorter = max(frames - 1, 0) // 4 * 4 + 1
    with pytest.raises(UserError, match=f"{frames} frames .* use {shorter} or {shorter + 4} "):
        latent_frames(frames, 4)


class Nothing:
    """A codec in name alone."""

    name, weight_hash = "nothing", "n0"
    temporal_compression_ratio = spatial_compression_ratio = latent_channels = 1
    scaling_factor = image_condition_factor = 1.0
    latent_frames = encode = encode_image = decode = decode_to_host = print

    def __init__(self, section):
        self.section = section


def test_a_codec_belongs_to_a_backbone_or_is_somebodys_own():
    with pytest.raises(UserError, match=r"no codec is called 'nonsense': choose one of cogvideox, or name one of your"):
        load_codec({"name": "nonsense"})
    section = {"name": f"{__name__}:Nothing", "path": "anywhere"}
    assert load_codec(section).section == section
