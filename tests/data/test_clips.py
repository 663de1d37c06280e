import json

import pytest

from sr_jax.data.clips import read_index
from sr_jax.errors import UserError


def test_the_index_of_kept_clips_is_read_by_their_ids(tmp_path):
    rows = [{"clip_id": name, "prompt": f"this is {name}", "labels": {}} for name in ("b-00000", "a-00000")]
    (tmp_path / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(read_index(tmp_path).items()) == [("b-00000", rows[0]), ("a-00000", rows[1])]


def test_a_folder_without_an_index_is_told(tmp_path):
    with pytest.raises(UserError, match=r"no .*index\.jsonl: name a folder DATA/clips/SPLIT"):
        read_index(tmp_path)
