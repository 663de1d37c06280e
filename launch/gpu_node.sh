#!/usr/bin/env bash
# Trains on one machine with some or all of its GPUs, and goes on after failures until it is done.
#
#   bash launch/gpu_node.sh [OPTIONS] -- --config configs/stage_two.py:5b_i2v --workdir W [TRAIN FLAGS]
#
#   --gpus N      use the first N GPUs; all by default
#   --cuda 12     for an NVIDIA driver older than 580, which CUDA 13, the default, asks for; CUDA 12 works with 525 or newer
#   --retries N   how many failures to forgive (10)
#   --log FILE    where the output goes too (gpu_node.log)
#   --dry-run     print what would be done, and do nothing
#   --help        this text
#
# Makes .venv with the pinned packages of CUDA. Ctrl-C and SIGTERM save a checkpoint and end with exit code 75.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh

gpus='' cuda=13 retries=10 log=gpu_node.log child=
while [ $# -gt 0 ]; do
  case "$1" in
    --gpus) gpus=$(value "$@"); shift 2 ;;
    --cuda) cuda=$(value "$@"); shift 2 ;;
    --retries) retries=$(value "$@"); shift 2 ;;
    --log) log=$(value "$@"); shift 2 ;;
    --dry-run) dry_run=yes; shift ;;
    --help) print_help; exit 0 ;;
    --) shift; break ;;
    *) fail "unknown option $1: training flags come after --, see --help" ;;
  esac
done
[ $# -gt 0 ] || fail "no training flags: give them after --, see --help"
whole_number --retries "$retries"
case "$cuda" in
  12) extra=cuda12 ;;
  13) extra=cuda ;;
  *) fail "--cuda is '$cuda': it must be 12 or 13" ;;
esac
if [ -n "$gpus" ]; then
  whole_number --gpus "$gpus"
  [ "$gpus" -gt 0 ] || fail "--gpus is 0: it must be at least 1"
  export CUDA_VISIBLE_DEVICES
  CUDA_VISIBLE_DEVICES=$(seq -s, 0 $((gpus - 1)))
fi

# In the background, so that this shell hears a signal at once and hands it on.
train() {
  .venv/bin/python -m sr_jax.train "$@" &
  child=$!
  wait "$child"
}

stop() {
  trap - TERM INT
  kill -TERM "$child" 2> /dev/null || true
  wait "$child" || exit $?
  exit 0
}

if [ "$dry_run" = no ]; then
  need nvidia-smi "this machine has no NVIDIA driver"
  make_environment "$extra"
  # A signal to the process group must not end what training still prints to while it saves.
  exec > >(trap '' INT TERM; exec tee -a "$log") 2>&1
fi
gpu_environment
if [ -n "$gpus" ]; then
  echo "+ export CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES"
fi
echo "+ $(quoted .venv/bin/python -m sr_jax.train "$@")"
if [ "$dry_run" = yes ]; then
  echo "# again until it ends with 0, with at most $retries failures; output goes to $log too"
else
  trap stop TERM INT
  until_done "$retries" train "$@"
fi
