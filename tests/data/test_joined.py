import pickle

import pytest

from sr_jax.data.joined import joined


def test_parts_lie_behind_each_other():
    records = [{"number": number} for number in range(7)]
    whole = joined([records[:3], records[3:4], records[4:]])
    assert len(whole) == 7 and list(whole) == records
    assert [whole[index] for index in range(-7, 7)] == records + records
    for index in (7, -8):
        with pytest.raises(IndexError):
            whole[index]
    assert list(pickle.loads(pickle.dumps(whole))) == records
    assert joined([records]) is records
