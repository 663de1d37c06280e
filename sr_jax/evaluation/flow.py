"""Optical flow of a clip."""

import itertools

import cv2
import numpy as np
from jaxtyping import Float, UInt8


def optical_flow(frames: UInt8[np.ndarray, "f h w 3"]) -> Float[np.ndarray, "f-1 h w 2"]:
    """Dense flow from every frame to the next: DIS (Kroeger et al. 2016), which needs no weights.

    Args:
        frames: RGB frames `[F, H, W, 3]`, at least two.

    Returns:
        `[F - 1, H, W, 2]`: x and y displacement in percent of the frame's height per frame.
    """
    height = frames.shape[1]
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setFinestScale(0)
    # The blur keeps a codec's pixel noise from passing for motion.
    grey = [cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (0, 0), 1.0) for frame in frames]
    flows = [estimator.calc(now, after, None) for now, after in itertools.pairwise(grey)]
    return np.stack(flows).astype(np.float64) * (100 / height)
