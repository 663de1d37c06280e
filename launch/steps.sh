# Sourced by launch/demo.sh: runs commands one after the other, and remembers what was run and how long it took.

start_steps() {
  out=$1
  mkdir -p "$out"
  # Compiled programs are shared by the steps. Freed memory is kept, because a training step wants it right back, and lies
  # on huge pages, which makes that step a tenth or more faster.
  export JAX_COMPILATION_CACHE_DIR="$(cd "$out" && pwd)/compile_cache"
  export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1
  export MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_ARENA_MAX=1
  export GLIBC_TUNABLES=glibc.malloc.hugetlb=1
  touch "$out/steps.jsonl"
}

# step NAME COMMAND ARGUMENTS...: runs `python -m sr_jax.COMMAND ARGUMENTS`, once: a finished step is not run again.
step() {
  local name=$1 began=$SECONDS
  shift
  local command="python -m sr_jax.$*"
  if grep -qF "\"name\": \"$name\"" "$out/steps.jsonl"; then
    return
  fi
  printf '\n== %s\n$ %s\n' "$name" "$command"
  .venv/bin/python -m "sr_jax.$1" "${@:2}"
  printf '{"name": "%s", "command": "%s", "seconds": %d}\n' "$name" "$command" "$((SECONDS - began))" >> "$out/steps.jsonl"
}

# train_step NAME STAGE WORKDIR OVERRIDES...: one training run of configs/STAGE.py on the prepared data.
train_step() {
  local name=$1 stage=$2 workdir=$3
  shift 3
  step "$name" train --config "configs/$stage.py:$size" --workdir "$workdir" --config.data.dir="$out/data" "$@"
}
