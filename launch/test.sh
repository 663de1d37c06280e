#!/usr/bin/env bash
# Lints and tests on a machine that has only Python 3.11, 3.12 or 3.13.
#
#   bash launch/test.sh [PYTEST OPTIONS]            lints, and all tests that need no PyTorch
#   bash launch/test.sh --parity [PYTEST OPTIONS]   what is compared with PyTorch's numbers, computed anew
#   bash launch/test.sh --live [PYTEST OPTIONS]     lints and all tests, with PyTorch's numbers computed anew
#   bash launch/test.sh --help                      this text
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh

case "${1:-}" in
  --help) print_help; exit 0 ;;
  --parity | --live)
    is_installed parity || echo "PyTorch comes with NVIDIA's packages on Linux: 2.7 GB to download once, 4.8 GB in .venv"
    make_environment test parity
    ;;
  *) make_environment test ;;
esac
if [ "${1:-}" != --parity ]; then
  .venv/bin/ruff check .
  .venv/bin/ruff format --check --quiet .
fi
# Tests of a file stay together, as far as both processes have work: what they share is made once.
exec .venv/bin/python -m pytest --quiet -n 2 --dist worksteal --durations=15 "$@"
