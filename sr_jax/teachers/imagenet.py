"""How networks that were trained on ImageNet's statistics see colours."""

import numpy as np
from jaxtyping import Float

_MEAN, _DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def normalise(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """RGB in [0, 1], less ImageNet's mean and over its deviation, as float32."""
    return ((image - _MEAN) / _DEVIATION).astype(np.float32)
