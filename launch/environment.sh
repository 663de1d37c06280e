# shellcheck shell=bash
# Sourced by the launch scripts: makes .venv with the project and the extras asked for, at pinned versions.
# Usage: source launch/environment.sh; make_environment EXTRA...
# PYTHON is the interpreter to make it with; the first that fits when it is not set.
source launch/common.sh

find_python() {
  local candidate candidates=(python3 python3.12 python3.11)
  if [ -n "${PYTHON:-}" ]; then
    candidates=("$PYTHON")
  fi
  for candidate in "${candidates[@]}"; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  [ -z "${PYTHON:-}" ] || fail "PYTHON is '$PYTHON': it must be a Python 3.11 or 3.12"
  fail "no Python 3.11 or 3.12 found: install one, or set PYTHON to its path"
}

make_environment() {
  local extras stamp python
  extras=$(IFS=,; echo "$*")
  # Installing again takes half a minute even when nothing changed, so what is installed is remembered.
  stamp="$extras $(cat setup.py launch/constraints.txt | cksum)"
  if [ -x .venv/bin/python ] && grep -qxF "$stamp" .venv/installed 2>/dev/null; then
    return
  fi
  # What is left of one that was not made to its end has no pip.
  if ! .venv/bin/python -m pip --version > /dev/null 2>&1; then
    python=$(find_python)
    "$python" -m venv --clear .venv
  fi
  echo "Installing sr_jax[$extras] into .venv (a few minutes, once)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c launch/constraints.txt -e ".[$extras]"
  case ",$extras," in *,test,*) install_torch ;; esac
  echo "$stamp" >> .venv/installed
}

install_torch() {
  # Tests compare with PyTorch on the CPU: without --no-deps, pip would add several GB of CUDA libraries.
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c launch/constraints.txt --no-deps \
    torch peft accelerate
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c launch/constraints.txt \
    filelock fsspec jinja2 networkx psutil "setuptools>=77" sympy typing-extensions
}
