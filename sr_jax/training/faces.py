"""Whether a dataset has faces for the losses that learn from them."""

import logging
from pathlib import Path

import jax

from sr_jax.data.faces import describe
from sr_jax.data.mixture import Mixture, read_faces
from sr_jax.errors import UserError
from sr_jax.training.stages import Stage


def require_faces(data: Mixture | Path | str, split: str, stage: Stage) -> None:
    """Says how many clips have a face, and checks that a stage that learns from faces gets some.

    Args:
        data: The dataset, or several; one that was prepared before faces were counted is taken as it is.
        split: What the stage trains on.
        stage: The stage.

    Raises:
        UserError: When it reads faces, and no clip of the split has one.
    """
    mixture = Mixture.alone(data)
    counts = read_faces(mixture)
    if jax.process_index() == 0:
        logging.info("faces: %s", describe(counts) or "not counted when this dataset was prepared")
    if "face_mask" in stage.fields and split in counts and not counts[split].clips_with_face:
        folders = " and ".join(map(str, mixture.folders))
        raise UserError(
            f"none of the {counts[split].clips} clips in the split {split!r} of {folders} has a face, so identity, or "
            "a weight of faces, would be trained on nothing: prepare clips with faces, or leave these out "
            "(train_modules=structure in stage one; alignment.identity.weight=0 and the default denoising.face_weight "
            "and outside_weight in stage two)"
        )
