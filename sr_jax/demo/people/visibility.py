"""Where the face is in the picture, and whether it can be seen."""

import numpy as np
from jaxtyping import Bool, Float

from sr_jax.demo.people.bodies import Head
from sr_jax.demo.people.scenes import Camera, focal_length

# Eyes and mouth as directions from the head's centre, in half axes.
_FEATURES = np.array([[0.40, 0.05, 0.91], [-0.40, 0.05, 0.91], [0.0, -0.54, 0.84]])
_TURNED = 0.35  # smallest cosine between the face's direction and the direction to the camera
_NEAR = 0.06  # metres by which something may stand before a feature without hiding it: fringe, nose, one pixel's slope


def face_boxes(head: Head, camera: Camera, size: tuple[int, int]) -> Float[np.ndarray, "f 4"]:
    """Tight boxes round the picture of the head's ellipsoid.

    The outline of an ellipsoid is a conic; its extent follows from the dual quadric (Hartley and Zisserman, Multiple
    View Geometry, 2nd edition, section 8.3).

    Args:
        head: The head in each of F frames.
        camera: The camera in each of F frames.
        size: Height and width of the picture, pixels.

    Returns:
        (x0, y0, x1, y1) in pixels.
    """
    to_camera = np.swapaxes(camera.rotation, 1, 2)
    centre = np.einsum("fij,fj->fi", to_camera, head.centre - camera.position)
    axes = to_camera @ (head.rotation * head.radii[:, None, :])
    dual = axes @ np.swapaxes(axes, 1, 2) - centre[:, :, None] * centre[:, None, :]
    boxes = []
    for axis in (0, 1):
        middle = dual[:, axis, 2] / dual[:, 2, 2]
        half = np.sqrt(middle**2 - dual[:, axis, axis] / dual[:, 2, 2])
        focus = focal_length(size[0])
        boxes.append([size[1 - axis] / 2 + focus * (middle - half), size[1 - axis] / 2 + focus * (middle + half)])
    (left, right), (top, bottom) = boxes
    return np.stack([left, top, right, bottom], axis=1)


def face_visibility(head: Head, camera: Camera, depth: Float[np.ndarray, "f h w"]) -> Bool[np.ndarray, "f"]:
    """Whether the face is turned to the camera and at least two of eyes, eyes and mouth are seen.

    Args:
        head: The head in each of F frames.
        camera: The camera in each of F frames.
        depth: The picture's depth, metres.
    """
    towards = camera.position - head.centre
    towards = towards / np.linalg.norm(towards, axis=1, keepdims=True)
    turned = np.einsum("fi,fi->f", head.rotation[:, :, 2], towards) > _TURNED
    points = head.centre[:, None] + np.einsum("fij,pj->fpi", head.rotation * head.radii[:, None, :], _FEATURES)
    x, y, z = np.moveaxis(np.einsum("fji,fpj->fpi", camera.rotation, points - camera.position[:, None]), -1, 0)
    height, width = depth.shape[1:]
    column = np.floor(width / 2 + focal_length(height) * x / z).astype(int)
    row = np.floor(height / 2 + focal_length(height) * y / z).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    frame = np.arange(len(depth))[:, None]
    seen = depth[frame, np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    return turned & ((inside & (seen > z - _NEAR)).sum(axis=1) >= 2)
