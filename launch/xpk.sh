#!/usr/bin/env bash
# Trains on TPU slices of a GKE cluster that XPK made, restarts until it is done, and waits for the end. Run again, this
# waits for a workload that is queued or runs, as it was created, and makes one that ended anew, which goes on from the
# checkpoint in its workdir.
#
#   bash launch/xpk.sh --name N --cluster C --type v5p-32 --image IMAGE [OPTIONS] -- \
#       --config configs/stage_two.py:5b_i2v --workdir /bucket/W --config.data.dir=/bucket/D [TRAIN FLAGS]
#
#   --name N        name of the workload
#   --cluster C     XPK cluster
#   --type T        one slice as XPK names it, for example v5p-32 or v6e-8x8
#   --image I       image of launch/gke/Dockerfile, in a registry that the cluster reads
#   --slices N      how many slices (1)
#   --storage S     XPK storage to mount: where the training flags' folders are. Once before:
#                   xpk storage create S --type=gcsfuse --bucket=B --mount-point=/bucket --readonly=false ...
#   --zone Z, --project P   as XPK's; gcloud's by default
#   --retries N     how many restarts (100); restarts after preemption count too
#   --dry-run       print what would be done, and do nothing
#   --help          this text
#
# Logs of all hosts are in Cloud Logging, metrics and checkpoints in the workdir.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/common.sh

name='' cluster='' type='' image='' slices=1 storage='' zone='' project='' retries=100
while [ $# -gt 0 ]; do
  case "$1" in
    --name) name=$(value "$@"); shift 2 ;;
    --cluster) cluster=$(value "$@"); shift 2 ;;
    --type) type=$(value "$@"); shift 2 ;;
    --image) image=$(value "$@"); shift 2 ;;
    --slices) slices=$(value "$@"); shift 2 ;;
    --storage) storage=$(value "$@"); shift 2 ;;
    --zone) zone=$(value "$@"); shift 2 ;;
    --project) project=$(value "$@"); shift 2 ;;
    --retries) retries=$(value "$@"); shift 2 ;;
    --dry-run) dry_run=yes; shift ;;
    --help) print_help; exit 0 ;;
    --) shift; break ;;
    *) fail "unknown option $1: training flags come after --, see --help" ;;
  esac
done
require --name "$name"
require --cluster "$cluster"
require --type "$type"
require --image "$image"
whole_number --slices "$slices"
whole_number --retries "$retries"
[ $# -gt 0 ] || fail "no training flags: give them after --, see --help"
need xpk "pip install xpk"
where=(--cluster="$cluster" ${zone:+"--zone=$zone"} ${project:+"--project=$project"})

# listed STATUS: whether XPK lists a workload of this name that is so.
listed() {
  local output code=0
  # A part of the name would do as a filter, so whole names are looked for.
  output=$(xpk workload list "${where[@]}" --filter-by-job="$name" --filter-by-status="$1" 2>&1) || code=$?
  if [ "$code" != 0 ]; then
    echo "$output" >&2
    exit "$code"
  fi
  grep -q "^$name " <<< "$output"
}

create() {
  # By itself XPK restarts after signals only; 75 is a saved checkpoint, 1 a failure, 76 a process that hung.
  run xpk workload create --workload="$name" "${where[@]}" --tpu-type="$type" \
    --num-slices="$slices" --docker-image="$image" ${storage:+"--storage=$storage"} \
    --max-restarts="$retries" --restart-on-exit-codes=1,75,76 --termination-grace-period-seconds=300 \
    --command="$(quoted python -m sr_jax.train "$@")"
}

if [ "$dry_run" = yes ]; then
  echo "# when $name has ended, it is deleted first; when it is queued or runs, it is not created again"
  create "$@"
elif ! listed EVERYTHING; then
  create "$@"
elif listed FINISHED; then
  run xpk workload delete --workload="$name" "${where[@]}"
  # XPK would ask whether to overwrite what it still lists.
  while listed EVERYTHING; do
    sleep "${POLL_SECONDS:-10}"
  done
  create "$@"
else
  echo "# $name is queued or runs already, with the flags that it was created with"
fi
run xpk workload list "${where[@]}" --wait-for-job-completion="$name"
