"""Curves that grow in the cell of a notebook while a run trains."""

import contextlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path

from sr_jax.api.showing import Html, curves_of, show_curves
from sr_jax.checkpoints.logs import SKIPPED_FILE, read_lines, read_metrics
from sr_jax.errors import UserError

_SECONDS = 1.0
"""Between two looks at the log."""


@contextlib.contextmanager
def live_curves(workdir: Path) -> Iterator[None]:
    """Shows the curves of a workdir's log while the body runs, in place of what it prints.

    Raises:
        UserError: Outside of a notebook.
    """
    try:
        from IPython.display import display
    except ImportError as error:
        raise UserError('live curves are for notebooks: pip install "sr_jax[notebook]", or leave live out') from error
    shown = display(_look(workdir), display_id=True)
    if shown is None:
        raise UserError("live curves are for notebooks: leave live out")
    done, before = threading.Event(), len(read_metrics(workdir))

    def keep_looking() -> None:
        lines = before
        while not done.wait(_SECONDS):
            # Only what is new is sent, as the notebook keeps all that it was sent.
            if (now := len(read_metrics(workdir))) != lines:
                lines = now
                shown.update(_look(workdir))

    thread = threading.Thread(target=keep_looking, daemon=True)
    thread.start()
    try:
        # The bar and its lines tell what the curves tell.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        done.set()
        thread.join()
        shown.update(_look(workdir))


def _look(workdir: Path) -> Html:
    """The curves, and a line about where the run is."""
    lines = read_metrics(workdir)
    if not curves_of(lines):
        return Html(f"<p>{workdir.name}: reading the data and compiling the first step</p>")
    said = f"{workdir.name}: step {lines[-1]['step']}, {lines[-1]['wall_time']:.0f} seconds"
    if skipped := len(read_lines(workdir / SKIPPED_FILE)):
        said += f", skipped steps: {skipped}"
    return Html(f"<p>{said}</p>{show_curves(workdir)}")
