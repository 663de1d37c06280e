# shellcheck shell=bash
# Sourced by the launch scripts: makes .venv with the project and the extras asked for, at pinned versions.
# Usage: source launch/environment.sh EXTRA...

find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3.12 python3.11 python3; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: no Python 3.11 or 3.12 found: install one, or set PYTHON to its path" >&2
  exit 2
}

make_environment() {
  local extras stamp
  extras=$(IFS=,; echo "$*")
  if [ ! -x .venv/bin/python ]; then
    "$(find_python)" -m venv .venv
  fi
  # Installing again takes half a minute even when nothing changed, so what is installed is remembered.
  stamp="$extras $(cat setup.py launch/constraints.txt | cksum)"
  if ! grep -qxF "$stamp" .venv/installed 2>/dev/null; then
    echo "Installing sr_jax[$extras] into .venv (a few minutes, once)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c launch/constraints.txt -e ".[$extras]"
    case ",$extras," in *,test,*) install_torch ;; esac
    echo "$stamp" >> .venv/installed
  fi
}

install_torch() {
  # Tests compare with PyTorch on the CPU: without --no-deps, pip would add several GB of CUDA libraries.
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c launch/constraints.txt --no-deps \
    torch peft accelerate
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c launch/constraints.txt \
    filelock fsspec jinja2 networkx psutil "setuptools>=77" sympy typing-extensions
}
