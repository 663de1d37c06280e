"""What computes: the video transformer, the alignment modules and the layers they share.

Nothing here knows of data, losses or training stages. Arrays are channels-last `[B, T, H, W, C]`. Parameters are
float32 masters and carry `logical_axes` metadata, one name per array axis, which `sr_jax.parallel` maps to mesh axes.
"""
