"""One call of the command: a shard of a preparation, its merge, or all of it."""

import functools
from pathlib import Path
from typing import Any

import ml_collections
import tqdm

from sr_jax.configs.prepare import KEYS
from sr_jax.data.builder import MANIFEST_FILE
from sr_jax.declared.checking import check
from sr_jax.errors import UserError
from sr_jax.outputs import require_writable
from sr_jax.preparation.adding import check_done, next_part
from sr_jax.preparation.building import make_preparation
from sr_jax.preparation.dataset import Preparation, make_shard, plan_shard
from sr_jax.preparation.merging import merge, read_summary
from sr_jax.preparation.summary import Summary
from sr_jax.preparation.work import Shard


def prepare(
    config: ml_collections.ConfigDict,
    source: Path,
    output: Path,
    *,
    shard: Shard | None = None,
    only_merge: bool = False,
) -> None:
    """Makes the dataset `output` of the videos in `source`, or adds to it those that it does not have.

    See `configs/prepare.py` for the config.

    Args:
        config: What to make.
        source: Folder of videos.
        output: Folder of the dataset.
        shard: Make only this part of the features, and no dataset.
        only_merge: Make only the dataset, or what is added to it, of features that are all there.

    Raises:
        UserError: For bad input (where that is not passed over, before anything is written), or when `output` was begun
            with other input or settings or cannot be written.
    """
    if output.resolve().is_relative_to(source.resolve()):
        raise UserError(f"the output {output} lies in the input {source}: choose another output folder")
    check(KEYS, config)
    # A dataset that is complete may lie where nothing can be written.
    if not (output / MANIFEST_FILE).exists():
        require_writable(output)
    strict = config.on_bad_input == "stop"
    preparation = make_preparation(config, source, output, strict=strict)
    check_done(preparation)
    while part := next_part(preparation):
        require_writable(output)
        if not only_merge:
            _make(part, shard or Shard(), strict=strict)
        if shard is not None:
            print(f"shard {shard.index}/{shard.count} is done: run --merge when all are")
            return
        with tqdm.tqdm(desc="merging", unit="clip") as bar:
            merge(part, functools.partial(_show, bar))
        if only_merge:
            break
    _report(output, read_summary(preparation))


def _make(part: Preparation, shard: Shard, *, strict: bool) -> None:
    """Makes the features of a shard of a part; where a bad video is an error, after a look at all videos."""
    videos = sum(len(group) for group in part.work.groups[shard.index :: shard.count])
    plans = {}
    if strict:
        with _Bar(videos, "checking") as bar:
            plans = plan_shard(part, shard, bar)
    with _Bar(videos, "preparing") as bar:
        make_shard(part, shard, bar, plans)


class _Bar:
    """A bar over videos that also says how many clips a second are made."""

    def __init__(self, videos: int, what: str):
        self._bar = tqdm.tqdm(total=videos, desc=what, unit="video")
        self._clips = 0

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, videos: int, clips: int) -> Any:
        self._clips += clips
        seconds = self._bar.format_dict["elapsed"]
        if self._clips:
            text = f"{self._clips} clips, {self._clips / max(seconds, 1e-3):.2f} clips/s"
            self._bar.set_postfix_str(text, refresh=not videos)
        self._bar.update(videos)


def _show(bar: tqdm.tqdm, written: int, total: int) -> None:
    """Shows that so many more clips of a dataset are written, and how many there are."""
    bar.total = total
    bar.update(written)


def _report(output: Path, summary: Summary) -> None:
    print(f"{output} holds {summary.clips.total()} clips")
    for line in summary.lines():
        print(f"  {line}")
