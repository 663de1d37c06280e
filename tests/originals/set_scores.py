"""FID and KID of features by torchmetrics."""

import numpy as np
import torch
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd


def frechet_distance(ours: np.ndarray, real: np.ndarray) -> float:
    """Of two sets of features `[n, d]`."""
    ours, real = (torch.from_numpy(x).double() for x in (ours, real))
    moments = [moment for x in (ours, real) for moment in (x.mean(dim=0), torch.cov(x.T))]
    return float(_compute_fid(*moments))


def kernel_distance(ours: np.ndarray, real: np.ndarray) -> float:
    """Of two sets of as many features `[n, d]`, all in one subset."""
    return float(poly_mmd(*(torch.from_numpy(x).double() for x in (real, ours))))
