#!/usr/bin/env bash
# Lints and tests on a machine that has only Python 3.11 or 3.12. Extra arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh
make_environment test
.venv/bin/ruff check .
.venv/bin/ruff format --check --quiet .
exec .venv/bin/python -m pytest --quiet -n 2 --durations=15 "$@"
