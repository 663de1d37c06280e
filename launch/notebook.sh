#!/usr/bin/env bash
# Runs a notebook from top to bottom, as a reader would, and keeps a page of what it showed.
#
#   bash launch/notebook.sh [NOTEBOOK]     notebooks/semantic_repa_colab.ipynb where none is named
#   bash launch/notebook.sh --help         this text
#
# Everything goes to notebook_output/ (or the folder named by OUTPUT). Run again, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh

case "${1:-}" in
  --help) print_help; exit 0 ;;
  -*) fail "unknown option $1: name a notebook, or nothing" ;;
esac
notebook=${1:-notebooks/semantic_repa_colab.ipynb}
[ -f "$notebook" ] || fail "no notebook $notebook"
make_environment demo notebook
out=${OUTPUT:-notebook_output}
mkdir -p "$out"
# It is run in this folder, and the one in the repository stays without outputs.
copy="$out/$(basename "$notebook")"
cp "$notebook" "$copy"
# What several cells compile is compiled once.
JAX_COMPILATION_CACHE_DIR="$(cd "$out" && pwd)/compile_cache"
export JAX_COMPILATION_CACHE_DIR JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1
.venv/bin/python -m nbconvert --to notebook --inplace --execute "$copy"
# Of a progress bar only its end is kept.
.venv/bin/python -m nbconvert --to html --CoalesceStreamsPreprocessor.enabled=True "$copy"
echo "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s. Open ${copy%.ipynb}.html in a browser."
