"""How Video Depth Anything joins windows, step by step as it is published, and how it prepares a frame."""

from collections.abc import Callable

import cv2
import numpy as np

KEYFRAMES = [0, 12, 24, 25, 26, 27, 28, 29, 30, 31]


def joined_windows(frames: np.ndarray, prepare: Callable, estimate: Callable) -> np.ndarray:
    """Depth of all frames: all windows first, then one window after the other is aligned.

    Args:
        frames: Of one video.
        prepare: From a frame to the network's input.
        estimate: From the 32 inputs of a window to its depth `[32, h, w]`.
    """
    count = len(frames)
    padded = [*frames, *[frames[-1]] * 60]
    outputs, before = [], None
    for start in range(0, count, 22):
        inputs = [prepare(frame) for frame in padded[start : start + 32]]
        if before is not None:
            for place, key in enumerate(KEYFRAMES):
                inputs[place] = before[key]
        outputs.append(estimate(np.stack(inputs)))
        before = inputs
    result = list(outputs[0])
    references = [outputs[0][0], outputs[0][12]]
    for output in outputs[1:]:
        left = np.stack([np.concatenate([output[0].ravel(), output[1].ravel()]), np.ones(2 * output[0].size)], axis=1)
        right = np.concatenate([references[0].ravel(), references[1].ravel()])
        scale, shift = np.linalg.lstsq(left, right, rcond=None)[0]
        aligned = [np.where(frame * scale + shift < 0, 0, frame * scale + shift) for frame in output]
        for number in range(8):
            weight = number / 7
            result[-8 + number] = (1 - weight) * result[-8 + number] + weight * aligned[2 + number]
        result += aligned[10:]
        references = [references[0], aligned[12]]
    return np.stack(result[:count])


def prepared(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame of 8 bits as the network's input of some height and width, float64."""
    resized = cv2.resize(frame.astype(np.float32) / 255, size[::-1], interpolation=cv2.INTER_CUBIC)
    return (resized - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
