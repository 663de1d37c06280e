"""Depth teachers, and the colouring that makes a depth video encodable by a video codec."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from sr_jax.errors import UserError

# The colours of `INFERNO`, from far (index 0, black) to near (255, pale yellow). `[256, 3]` RGB.
INFERNO = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1].copy()


class PrecomputedDepth:
    """Reads the depth of a video from `<name>.depth.npz` beside it.

    The file holds `depth` (metres along the viewing axis, positive, infinity where there is nothing) or `disparity`
    (near is large, finite), float `[F, H, W]`, one entry for each frame of the video.
    """

    name = "precomputed"
    weight_hash = "none"

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"], fps: float, path: Path) -> Float[np.ndarray, "f h w"]:
        """Returns the disparity of all frames of the video at `path`, as float32.

        Args:
            frames: All RGB frames of the video.
            fps: Frames a second; not used.
            path: The video file.

        Raises:
            UserError: If the depth file is missing, unreadable, of another length or size, or holds impossible values.
        """
        del fps
        file = depth_path(path)
        values = read_disparity(file)
        if len(values) != len(frames):
            raise UserError(f"{file} has depth for {len(values)} frames, but {path.name} has {len(frames)} frames")
        if values.shape != frames.shape[:3]:
            raise UserError(
                f"{file} has depth of {values.shape[1]}x{values.shape[2]} pixels, but {path.name} has "
                f"{frames.shape[1]}x{frames.shape[2]}"
            )
        return values


def depth_path(video: Path) -> Path:
    """Returns where the depth of a video lies: `dir/name.mp4` has `dir/name.depth.npz`."""
    return video.with_suffix(".depth.npz")


def read_disparity(path: Path) -> Float[np.ndarray, "f h w"]:
    """Reads a depth file as float32 disparity (1 / metres, or whatever unit the file's `disparity` has).

    Raises:
        UserError: If the file is missing, unreadable, has neither key, or holds impossible values.
    """
    if not path.is_file():
        raise UserError(f"no depth file {path}: put one beside the video or choose another depth teacher")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key].astype(np.float32) for key in ("depth", "disparity") if key in stored}
    # A damaged zip, a file of another kind and a pickle arrive as different built-in exceptions.
    except Exception as error:
        raise UserError(f"cannot read {path}: it must be an .npz file of plain arrays") from error
    if "disparity" in arrays:
        values = arrays["disparity"]
        good = np.isfinite(values).all()
    elif "depth" in arrays:
        good = (arrays["depth"] > 0).all()
        values = 1 / arrays["depth"] if good else arrays["depth"]
    else:
        raise UserError(f"{path} has neither `depth` (metres) nor `disparity`")
    if values.ndim != 3 or not values.size or not good:
        raise UserError(f"{path} must hold [frames, height, width] of positive depth or finite disparity")
    return values


def normalise_disparity(disparity: Float[np.ndarray, "f h w"]) -> Float[np.ndarray, "f h w"]:
    """Maps a clip to [0, 1] by the smallest and largest value of the whole clip; a constant clip becomes 0."""
    low, high = disparity.min(), disparity.max()
    if high == low:
        return np.zeros_like(disparity)
    return (disparity - low) / (high - low)


def colour_depth(disparity: Float[np.ndarray, "f h w"]) -> UInt8[np.ndarray, "f h w 3"]:
    """Colours a clip's disparity as Video Depth Anything does: minimum and maximum of the clip, then `inferno`."""
    return INFERNO[np.round(normalise_disparity(disparity) * 255).astype(np.uint8)]


def invert_colour(
    frames: UInt8[np.ndarray, "f h w 3"] | Float[np.ndarray, "f h w 3"],
) -> Float[np.ndarray, "f h w"]:
    """Reads normalised disparity back from colours: the place of the nearest colour in the table.

    Args:
        frames: uint8 RGB, or float RGB in [-1, 1] as a codec decodes it.

    Returns:
        float32 in [0, 1], steps of 1 / 255, near is large.
    """
    pixels = frames.astype(np.float32) if frames.dtype == np.uint8 else (frames.astype(np.float32) + 1) * 127.5
    table = INFERNO.astype(np.float32)
    # |p - c|^2 without the |p|^2 that all colours share.
    distances = (table**2).sum(axis=1) - 2 * pixels.reshape(-1, 3) @ table.T
    return (distances.argmin(axis=1) / np.float32(255)).astype(np.float32).reshape(frames.shape[:3])
