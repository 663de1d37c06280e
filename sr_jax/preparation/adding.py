"""Which files of an input are to be prepared next: all, or those that a dataset does not have yet.

A dataset is made part by part: of the videos that its folder of videos held at first, then of those that were put there
later. A part that was begun is finished before the next one; what is there is never made again or changed.
"""

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Sequence

from sr_jax.errors import UserError
from sr_jax.preparation.dataset import Preparation, changed
from sr_jax.preparation.inputs import FoundFile
from sr_jax.preparation.planning import Outcome
from sr_jax.preparation.work import Manifest, WorkFolder, refuse

VIDEOS_FILE = "videos.jsonl"


def check_done(preparation: Preparation) -> None:
    """Checks that a dataset that is there was made of files of this input, with the same settings.

    What is left over from making it is removed.

    Raises:
        UserError: Naming settings that differ, or videos that are gone or changed.
    """
    work, output = preparation.work, preparation.output
    done = work.done()
    if done is None:
        return
    work.clean()
    refuse(output, done.other_settings(preparation.manifest))
    outcomes = read_outcomes(work)
    waiting = _by_name(preparation.files)
    pairs = [(waiting[key].pop(0) if waiting[key] else None, outcome) for key, outcome in zip(done.videos, outcomes)]
    # A file that could not be used may be put away.
    gone = [f"{item.split}/{item.name}" for file, item in pairs if file is None and not item.rejected]
    refuse(output, [f"{name}: in the dataset, not in the input" for name in gone])
    there = [(file, outcome) for file, outcome in pairs if file is not None]
    refuse(output, changed(preparation.planner, [file for file, _ in there], [outcome for _, outcome in there]))


def next_part(preparation: Preparation) -> Preparation | None:
    """The part of a preparation that is to be made next; None when the dataset has all files of the input.

    Raises:
        UserError: When a part was begun with other settings, or of files that are gone.
    """
    done, begun = preparation.work.done(), preparation.work.begun()
    known = Counter(done.videos if done else ())
    waiting = _by_name(preparation.files)
    for name, count in known.items():
        del waiting[name][:count]
    new = {id(file) for files in waiting.values() for file in files}
    files = [file for file in preparation.files if id(file) in new]
    addition = done.additions + 1 if done else 0
    if begun:
        files = _begun_files(files, begun[0])
    elif done and not files:
        return None
    return dataclasses.replace(preparation, files=files, addition=addition)


def read_outcomes(work: WorkFolder) -> list[Outcome]:
    """What became of the files that the dataset was made of; none while there is no dataset.

    Raises:
        UserError: When the dataset lacks some.
    """
    done = work.done()
    if done is None:
        return []
    file = work.output / VIDEOS_FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    if len(lines) < len(done.videos):
        raise UserError(f"{file} is damaged: it has {len(lines)} of {len(done.videos)} files: restore it")
    # An addition that was killed may have written more.
    return [Outcome(**json.loads(line)) for line in lines[: len(done.videos)]]


def _begun_files(files: Sequence[FoundFile], begun: Manifest) -> list[FoundFile]:
    """Those of which a part was begun, as far as they are still there."""
    wanted = Counter(begun.videos)
    chosen = []
    for file in files:
        if wanted[_key(file)]:
            wanted[_key(file)] -= 1
            chosen.append(file)
    return chosen


def _by_name(files: Sequence[FoundFile]) -> dict[str, list[FoundFile]]:
    """Files by what a manifest calls them; those that cannot be used may share a name."""
    named = defaultdict(list)
    for file in files:
        named[_key(file)].append(file)
    return named


def _key(file: FoundFile) -> str:
    return f"{file.split}/{file.name}"
