"""One file that holds a PyTorch state dict: safetensors, or what `torch.save` wrote."""

from pathlib import Path

import numpy as np

from sr_jax.conversion.rules import cast
from sr_jax.conversion.safetensors_file import map_tensor, parse_header, read_header
from sr_jax.errors import UserError

_FLOAT32 = np.dtype(np.float32)


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Reads all tensors of a state dict as float32 arrays.

    Args:
        path: A `.safetensors` file; any other is taken for one of `torch.save`, and only tensors are unpickled.

    Raises:
        UserError: If the file is missing, damaged, holds anything but tensors, or needs PyTorch, which is not there.
    """
    if not path.is_file():
        raise UserError(f"no weights at {path}: name a .safetensors or .pth file")
    if path.suffix == ".safetensors":
        tensors = {name: map_tensor(path, tensor) for name, tensor in parse_header(read_header(path), path).items()}
    else:
        tensors = _read_torch(path)
    return {name: cast(tensor, _FLOAT32, name) for name, tensor in tensors.items()}


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    # An optional dependency, for this kind of file only.
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f'{path} needs PyTorch to be read: pip install "sr_jax[torch]", or save it as .safetensors'
        ) from error
    # A damaged file and one with other objects arrive as different exceptions; messages have several lines.
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.float().numpy() for name, tensor in content.items()}
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} holds no state dict of tensors alone ({reason[:200]}): download it again") from error
