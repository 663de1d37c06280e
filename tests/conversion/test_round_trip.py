import pytest
import torch

from sr_jax.conversion.exporting import export, imported_parts
from sr_jax.conversion.imported import SOURCE_FOLDER
from sr_jax.conversion.importing import Source, import_pipeline
from tests.conversion.folders import VARIANTS, contents, save_transformer


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_file_comes_back_bit_by_bit(tmp_path, variant, dtype):
    source = save_transformer(tmp_path / "theirs", variant, dtype)
    assert len(list(source.glob("*.safetensors"))) > 1
    import_pipeline(Source(source, "theirs"), tmp_path / "ours")
    export(imported_parts(tmp_path / "ours"), tmp_path / "back", other_files=tmp_path / "ours" / SOURCE_FOLDER)
    assert contents(tmp_path / "back") == contents(source)
