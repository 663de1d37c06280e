# shellcheck shell=bash
# Sourced by the launch scripts: makes .venv with the project and the extras asked for, at pinned versions.
# Usage: source launch/environment.sh; make_environment EXTRA...
# PYTHON is the interpreter to make it with; the first that fits when it is not set.
source launch/common.sh

find_python() {
  local candidate candidates=(python3 python3.13 python3.12 python3.11)
  if [ -n "${PYTHON:-}" ]; then
    candidates=("$PYTHON")
  fi
  for candidate in "${candidates[@]}"; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  [ -z "${PYTHON:-}" ] || fail "PYTHON is '$PYTHON': it must be a Python 3.11, 3.12 or 3.13"
  fail "no Python 3.11, 3.12 or 3.13 found: install one, or set PYTHON to its path"
}

# Installing again takes half a minute even when nothing changed, so .venv/installed says, line by line, which extra was
# installed from which versions.
versions() {
  cat setup.py launch/constraints.txt | cksum
}

# is_installed EXTRA...: whether all of them are, at the versions of now.
is_installed() {
  local extra
  [ -x .venv/bin/python ] || return 1
  for extra in "$@"; do
    grep -qxF "$extra $(versions)" .venv/installed 2> /dev/null || return 1
  done
}

make_environment() {
  local extra extras python
  extras=$(IFS=,; echo "$*")
  if is_installed "$@"; then
    return
  fi
  # What is left of one that was not made to its end has no pip.
  if ! .venv/bin/python -m pip --version > /dev/null 2>&1; then
    python=$(find_python)
    "$python" -m venv --clear .venv
  fi
  echo "Installing sr_jax[$extras] into .venv (a few minutes, once)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c launch/constraints.txt -e ".[$extras]"
  for extra in "$@"; do
    echo "$extra $(versions)" >> .venv/installed
  done
}
