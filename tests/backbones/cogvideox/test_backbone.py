import dataclasses

import pytest

from sr_jax.backbones.base import get_backbone
from tests.models.tiny_transformers import I2V, I2V_1_5, ROPE


@pytest.mark.parametrize(
    ("config", "changes", "fields"),
    [
        (I2V, {}, []),
        (I2V, {"num_layers": 5}, ["num_layers"]),
        # A learned position table has a row for every text token, rotary positions have none.
        (I2V, {"max_text_seq_length": 9}, ["max_text_seq_length"]),
        (ROPE, {"max_text_seq_length": 9}, []),
        (ROPE, {"sample_height": 12}, ["sample_height"]),
        (I2V_1_5, {"sample_height": 12, "max_text_seq_length": 9}, []),
    ],
)
def test_weights_are_shared_where_none_depends_on_what_differs(config, changes, fields):
    one, other = (
        get_backbone("cogvideox", dataclasses.asdict(item)) for item in (config, dataclasses.replace(config, **changes))
    )
    assert sorted(one.differences(other)) == sorted(other.differences(one)) == fields
