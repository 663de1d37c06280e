"""Sizes of the identity module, for its network and for configs, which load no JAX."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class IdentityConfig:
    """Sizes of the identity module.

    Attributes:
        latent_channels: Channels of the video latent, and of the depth latent.
        use_depth: Whether the depth latent is an input too (the paper's choice; off is its ablation).
        widths: Channels of the network's stages; multiples of 8.
        blocks_per_stage: Residual blocks of each stage.
        embedding_dim: Width E of the face embedding (512 for ArcFace).
        pooled_size: Rows and columns that the last features are averaged to; 1x1 is global average pooling.
    """

    latent_channels: int = 16
    use_depth: bool = True
    widths: tuple[int, ...] = (128, 256, 512)
    blocks_per_stage: int = 2
    embedding_dim: int = 512
    pooled_size: tuple[int, int] = (1, 1)
