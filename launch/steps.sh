# shellcheck shell=bash
# Sourced by launch/demo.sh: runs commands, and remembers what was run, when, and how long it took.

start_steps() {
  out=$1
  mkdir -p "$out"
  # Compiled programs are shared by the steps. Freed memory is kept, because a training step wants it right back, and lies
  # on huge pages, which makes that step a tenth or more faster.
  JAX_COMPILATION_CACHE_DIR="$(cd "$out" && pwd)/compile_cache"
  export JAX_COMPILATION_CACHE_DIR
  export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1
  export MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_ARENA_MAX=1
  export GLIBC_TUNABLES=glibc.malloc.hugetlb=1
  touch "$out/steps.jsonl"
}

# step NAME COMMAND ARGUMENTS...: runs `python -m sr_jax.COMMAND ARGUMENTS`, once: a finished step is not run again.
step() {
  local name=$1 began
  began=$(date +%s)
  shift
  local command="python -m sr_jax.$*"
  if grep -qF "\"name\": \"$name\"" "$out/steps.jsonl"; then
    return
  fi
  printf '\n== %s\n$ %s\n' "$name" "$command"
  .venv/bin/python -m "sr_jax.$1" "${@:2}"
  printf '{"name": "%s", "command": "%s", "began": %d, "seconds": %d}\n' \
    "$name" "$command" "$began" "$(($(date +%s) - began))" >> "$out/steps.jsonl"
}

# beside FUNCTION ARGUMENTS...: begins to run a function of steps at the same time as what follows, which keeps the cores
# busy while programs start and compile. What it prints goes to FUNCTION.log. `join` waits for it.
beside() {
  beside_log="$out/$1.log"
  printf '\n== At the same time: %s (see %s)\n' "$1" "$beside_log"
  # A process group of its own, so that all of it ends when this script does.
  set -m
  "$@" < /dev/null > "$beside_log" 2>&1 &
  beside_job=$!
  set +m
  trap 'kill -- "-$beside_job" 2>/dev/null || true' EXIT
}

join() {
  trap - EXIT
  if ! wait "$beside_job"; then
    echo "error: what ran at the same time failed; the end of $beside_log:" >&2
    tail -n 5 "$beside_log" >&2
    exit 1
  fi
}

# train_step NAME STAGE WORKDIR OVERRIDES...: one training run of configs/STAGE.py on the prepared data.
# shellcheck disable=SC2154  # launch/demo.sh sets the size.
train_step() {
  local name=$1 stage=$2 workdir=$3
  shift 3
  step "$name" train --config "configs/$stage.py:$size" --workdir "$workdir" --config.data.dir="$out/data" "$@"
}
