"""The metric log after a kill."""

from sr_jax.training.logs import METRICS_FILE, MetricLog, read_metrics


def _log(workdir, first_step):
    return MetricLog(workdir, first_step=first_step, num_steps=10, enabled=True)


def test_lines_after_the_checkpoint_are_dropped(tmp_path):
    log = _log(tmp_path, 0)
    for step in (2, 4, 6):
        log.write(step, {"loss": float(step)})
    log.close()
    # The kill cut the last line short; the newest checkpoint is of step 4.
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"step": 8, "lo')
    assert [line["step"] for line in read_metrics(tmp_path)] == [2, 4, 6]
    log = _log(tmp_path, 4)
    log.write(6, {"loss": 60.0})
    log.close()
    lines = read_metrics(tmp_path)
    assert [(line["step"], line["loss"]) for line in lines] == [(2, 2.0), (4, 4.0), (6, 60.0)]
    assert lines[2]["wall_time"] >= lines[1]["wall_time"]


def test_other_processes_write_nothing(tmp_path):
    log = MetricLog(tmp_path / "run", first_step=0, num_steps=1, enabled=False)
    log.advance()
    log.write(1, {"loss": 1.0})
    log.close()
    assert not (tmp_path / "run").exists()
    assert read_metrics(tmp_path / "run") == []
