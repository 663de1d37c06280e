"""The training tests' dataset and configs."""

from tests.training.conftest import dataset, tiny

__all__ = ["dataset", "tiny"]
