"""The page of a suite, of runs that were sampled and scored by the real code."""

import json
import re
import xml.etree.ElementTree as ElementTree

from sr_jax.ablation import report
from sr_jax.ablation.comparing import compare_rows
from sr_jax.ablation.rows import Row
from sr_jax.ablation.work import Task
from sr_jax.configs.ablate import get_config
from sr_jax.evaluation.results import read_results


def _tasks(runs, workdirs, folder) -> list[Task]:
    """The control and the run, in the folders that a suite has."""
    tasks = []
    for name, run in (("control", "control"), ("both", "SemanticREPA")):
        task = Task(Row(name, f"row <{name}>", {}), 0, folder / name / "seed0", 4, ())
        task.folder.mkdir(parents=True)
        task.samples.symlink_to(runs[run])
        task.workdir.symlink_to(workdirs[run])
        tasks.append(task)
    return tasks


def test_a_suite_of_real_runs_is_compared_and_shown(runs, workdirs, data, tmp_path):
    tasks = _tasks(runs, workdirs, tmp_path)
    assert all(task.is_done for task in tasks)
    found = {task.row.name: {0: read_results(task.samples / "metrics.json")} for task in tasks}
    compared = compare_rows([task.row for task in tasks], found, {}, ("psnr", "motion_score"))
    made_by = {"suite": "objectives", "config": {"clips": 5}, "seeds": [0], "versions": {"jax": "0"}, "seconds": {}}
    made_by["hardware"] = {"device": "cpu", "devices": 1, "machine": "x86_64"}
    results = json.loads(json.dumps(made_by | compared, allow_nan=False))
    for row in results["rows"]:
        row["flops"] = 1.0
    config = get_config("smoke")
    config.data.dir = str(data)
    report.write_page(tmp_path / "report.html", results, tasks, config)
    page = (tmp_path / "report.html").read_text()
    assert page.count('src="data:video/mp4;base64,') == 5 and page.count("<th>Row</th>") > 5
    assert ">structure loss</text>" in page and "row &lt;both&gt;" in page and "row <both>" not in page
    # Three people are too few for a verdict.
    assert 'class="chip few"' in page and "None of 2 claims holds" in page
    without_videos = re.sub(r'src="data:video/mp4;base64,[^"]+"', "", page)
    assert not re.search(r"https?://|src=|@import|url\(", without_videos)
    body = re.sub(r"<(style|script)>.*?</\1>|<meta[^>]*>|<!doctype html>", "", without_videos, flags=re.DOTALL)
    body = re.sub(r"&(?:ldquo|rdquo|rsquo|ndash|plusmn);", "'", body).replace(" autoplay loop muted playsinline", "")
    ElementTree.fromstring(body)  # every element is closed, every text escaped
