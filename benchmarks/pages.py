"""Tables in pages, between two markers: put there by the benchmarks that make them, and read by tests."""

from pathlib import Path


def published(page: str, name: str) -> str:
    """The table of that name in the text of a page."""
    begin, end = _markers(name)
    return page.partition(begin)[2].partition(end)[0].strip()


def publish(path: Path, name: str, table: str) -> None:
    """Puts a table in the place of the one of that name in a page."""
    begin, end = _markers(name)
    before, _, rest = path.read_text().partition(begin)
    path.write_text(f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}")


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
