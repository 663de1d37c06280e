"""Flicker of depth: how much the depth of what is seen changes from frame to frame, along its motion."""

import cv2
import numpy as np
from jaxtyping import Float

from sr_jax.evaluation.metrics.base import Clip, ClipMetric, Measurement, Score


class Metric(ClipMetric):
    """Mean absolute change of disparity along the optical flow, in percent of the clip's range."""

    score = Score(
        "depth_flicker",
        "Flicker of depth",
        "%",
        -1,
        3,
        "Mean absolute change of the disparity that a depth network reads, from a pixel to where the optical flow "
        "takes it in the next frame, in percent of the clip's range. Real clips have some, too.",
    )
    needs = frozenset({"depth"})
    alone = True

    def measure(self, clip: Clip) -> Measurement:
        """The mean over all neighbouring frames."""
        return Measurement(float(changes_along_flow(clip.depth, clip.flow).mean()))


def changes_along_flow(
    depth: Float[np.ndarray, "f h w"], flow: Float[np.ndarray, "f-1 h w 2"]
) -> Float[np.ndarray, " f-1"]:
    """The mean change from each frame to the next, in percent of the range of the clip's depth.

    Args:
        depth: Disparity of any scale.
        flow: As `flow.optical_flow` gives it.

    Returns:
        `[F - 1]`; pixels that leave the frame do not count.
    """
    height, width = depth.shape[1:]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    extent, changes = float(np.ptp(depth)), []
    for now, after, motion in zip(depth[:-1], depth[1:], flow, strict=True):
        # Flow is in percent of the height.
        x, y = (base + motion[..., i].astype(np.float32) * (height / 100) for i, base in enumerate((columns, rows)))
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        change = np.abs(cv2.remap(after.astype(np.float32), x, y, cv2.INTER_LINEAR) - now)
        changes.append(change[inside].mean() if inside.any() else 0.0)
    return 100 * np.array(changes, np.float64) / (extent or 1.0)
