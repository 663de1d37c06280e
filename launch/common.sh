# shellcheck shell=bash
# Sourced by the launch scripts: help, one clear line for bad input, dry runs, and running a command until it is done.

dry_run=no

# A script's help is its own first comment.
print_help() {
  sed -n '2,/^[^#]/ s/^# \{0,1\}//p' "$0"
}

# fail MESSAGE: bad input.
fail() {
  echo "error: $1" >&2
  exit 2
}

# An older one takes an empty array for a variable that is not set; macOS carries 3.2.
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  fail "this is bash $BASH_VERSION: install 4.4 or newer, and put it first in PATH"
fi

# require --FLAG VALUE: the value that a flag must have.
require() {
  if [ -z "$2" ]; then
    fail "$1 is missing, see --help"
  fi
}

# value --FLAG "$@": the value after a flag.
value() {
  if [ $# -lt 2 ] || [ -z "$2" ] || [ "$2" = -- ]; then
    fail "$1 needs a value, see --help"
  fi
  echo "$2"
}

# whole_number --FLAG VALUE
whole_number() {
  case "$2" in
    "" | *[!0-9]*) fail "$1 is '$2': it must be a whole number" ;;
  esac
}

# The tools that a real run needs; a dry run needs none.
need() {
  if [ "$dry_run" = no ] && ! command -v "$1" > /dev/null; then
    fail "$1 is not installed: $2"
  fi
}

# run COMMAND...: prints the command and runs it; a dry run only prints.
run() {
  echo "+ $(quoted "$@")"
  if [ "$dry_run" = no ]; then
    "$@"
  fi
}

# The arguments as one line that a shell reads back as the same arguments.
quoted() {
  local argument line=
  for argument in "$@"; do
    case "$argument" in
      "" | *[!a-zA-Z0-9_./:=,@%+-]*) argument="'${argument//\'/\'\\\'\'}'" ;;
    esac
    line="$line${line:+ }$argument"
  done
  echo "$line"
}

# What training on NVIDIA GPUs is told, unless the caller's environment says otherwise. JAX would train on the CPU, without
# an error, where it finds no GPU; and XLA would keep a quarter of the GPU's memory from the run.
gpu_environment() {
  export JAX_PLATFORMS=${JAX_PLATFORMS:-cuda} XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.96}
  echo "+ export JAX_PLATFORMS=$JAX_PLATFORMS XLA_PYTHON_CLIENT_MEM_FRACTION=$XLA_PYTHON_CLIENT_MEM_FRACTION"
}

# until_done RETRIES COMMAND...: runs COMMAND again until it ends with 0. Training ends with 75 when it saved what it had
# because its machine is wanted back, and with 2 for bad input or 3 when it has diverged, which are not tried again: they
# would end the same. Any other code is a failure, as is 76, of a process that hung; RETRIES of them are forgiven.
until_done() {
  local retries=$1 failures=0 code
  shift
  while true; do
    code=0
    "$@" || code=$?
    case $code in
      0) return 0 ;;
      2 | 3) return "$code" ;;
      75) echo "Stopped early; what was trained is saved. Going on." ;;
      *)
        failures=$((failures + 1))
        if [ "$failures" -gt "$retries" ]; then
          echo "error: ended with exit code $code, $failures times by now: giving up" >&2
          return "$code"
        fi
        echo "Ended with exit code $code. Trying again ($failures of $retries)."
        ;;
    esac
    sleep "${RETRY_SECONDS:-10}"
  done
}
