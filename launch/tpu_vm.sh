#!/usr/bin/env bash
# Trains on a TPU VM slice of any size: asks for it or takes the one of this name, installs on every host, starts on
# every host, and does so again after preemptions and failures until training is done.
#
#   bash launch/tpu_vm.sh --name N --zone Z --type v5p-32 --bucket B [OPTIONS] -- \
#       --config configs/stage_two.py:5b_i2v --workdir /bucket/W --config.data.dir=/bucket/D [TRAIN FLAGS]
#
#   --name N        name of the queued resource and of its TPU VM
#   --zone Z        where
#   --type T        accelerator type, for example v5litepod-256, v5p-32, v6e-64
#   --bucket B      Cloud Storage bucket (best with a hierarchical namespace), /bucket on every host
#   --project P     gcloud's by default
#   --runtime V     software version of the VM; fits the type by default
#   --spot, --reserved   kind of capacity; on demand by default
#   --retries N     how many failures to forgive (10); preemptions do not count
#   --log FILE      where the output of all hosts goes too (tpu_vm-NAME.log)
#   --delete        give the TPU VM back at the end, also when training failed
#   --dry-run       print what would be done, and do nothing
#   --help          this text
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/common.sh

name='' zone='' type='' bucket='' runtime='' retries=10 log='' delete=no capacity=() project=''
while [ $# -gt 0 ]; do
  case "$1" in
    --name) name=$(value "$@"); shift 2 ;;
    --zone) zone=$(value "$@"); shift 2 ;;
    --type) type=$(value "$@"); shift 2 ;;
    --bucket) bucket=$(value "$@"); shift 2 ;;
    --project) project=$(value "$@"); shift 2 ;;
    --runtime) runtime=$(value "$@"); shift 2 ;;
    --spot | --reserved) capacity=("$1"); shift ;;
    --retries) retries=$(value "$@"); shift 2 ;;
    --log) log=$(value "$@"); shift 2 ;;
    --delete) delete=yes; shift ;;
    --dry-run) dry_run=yes; shift ;;
    --help) print_help; exit 0 ;;
    --) shift; break ;;
    *) fail "unknown option $1: training flags come after --, see --help" ;;
  esac
done
require --name "$name"
require --zone "$zone"
require --type "$type"
require --bucket "$bucket"
whole_number --retries "$retries"
case "$bucket" in gs://*) fail "--bucket is '$bucket': give the bucket's name alone" ;; esac
case "$type" in
  v4-*) runtime=${runtime:-tpu-ubuntu2204-base} ;;
  v5litepod-*) runtime=${runtime:-v2-alpha-tpuv5-lite} ;;
  v5p-*) runtime=${runtime:-v2-alpha-tpuv5} ;;
  v6e-*) runtime=${runtime:-v2-alpha-tpuv6e} ;;
  *) [ -n "$runtime" ] || fail "--type is '$type': it must begin with v4-, v5litepod-, v5p- or v6e-, or give --runtime" ;;
esac
[ $# -gt 0 ] || fail "no training flags: give them after --, see --help"
need gcloud "install the Google Cloud CLI"
log=${log:-tpu_vm-$name.log}
place=(--zone="$zone" ${project:+"--project=$project"})

queued() {
  local action=$1
  shift
  run gcloud compute tpus queued-resources "$action" "$name" "${place[@]}" "$@"
}

# State of the queued resource, or NONE when there is none, also in a dry run. When it is ACTIVE, the state of its TPU VM,
# which is READY or not: after a preemption the queued resource stays ACTIVE for a while.
state() {
  local now=NONE
  if [ "$dry_run" = no ]; then
    now=$(gcloud compute tpus queued-resources describe "$name" "${place[@]}" --format='value(state.state)' 2> /dev/null) ||
      now=NONE
  fi
  if [ "$now" = ACTIVE ]; then
    now=$(gcloud compute tpus tpu-vm describe "$name" "${place[@]}" --format='value(state)' 2> /dev/null) || now=UNKNOWN
  fi
  echo "$now"
}

# Returns when the TPU VM is there: the one that is, or a new one.
acquire() {
  local now
  now=$(state)
  while [ "$now" != READY ]; do
    case $now in
      NONE)
        queued create --node-id="$name" --accelerator-type="$type" --runtime-version="$runtime" "${capacity[@]}" ||
          return 1
        ;;
      # What was preempted or could not be had stays in the list until it is deleted.
      FAILED | SUSPENDED | PREEMPTED | TERMINATED) queued delete --force --quiet || return 1 ;;
      STOPPED)
        echo "error: the TPU VM $name was stopped, and would be waited for in vain: start it" >&2
        return 1
        ;;
    esac
    echo "# $name is $now; wait until it is READY, asking for it again when it FAILED or was preempted"
    if [ "$dry_run" = yes ]; then
      return
    fi
    sleep "${POLL_SECONDS:-30}"
    now=$(state)
  done
}

on_every_host() {
  run gcloud compute tpus tpu-vm ssh "$name" "${place[@]}" --worker=all --command="$1"
}

# The project's files as they are committed, and the environment.
install() {
  local host_install
  host_install=$(quoted bash sr_jax/launch/tpu_host.sh install "$bucket")
  run git archive --format=tar.gz --output="$archive" HEAD &&
    run gcloud compute tpus tpu-vm scp "$archive" "$name:sr_jax.tar.gz" "${place[@]}" --worker=all &&
    on_every_host "mkdir -p sr_jax && tar -xzf sr_jax.tar.gz -C sr_jax && $host_install"
}

# Ends with training's own exit code, which every host prints, because gcloud has one of its own.
start() {
  local output codes
  output=$(mktemp)
  on_every_host "$(quoted bash sr_jax/launch/tpu_host.sh train "$@")" 2>&1 | tee "$output" || true
  codes=$(sed -n 's/^.*sr_jax ended with exit code \([0-9]*\).*$/\1/p' "$output" | sort -n -u | tr '\n' ' ')
  rm "$output"
  case " $codes" in
    *" 2 "*) return 2 ;;
    *" 3 "*) return 3 ;;
    " 0 ") return 0 ;;
    *" 75 "*) return 75 ;;
    # One that hung takes others with it, which end in other ways.
    *" 76 "*) return 76 ;;
  esac
  return 1
}

# One life of the TPU VM.
attempt() {
  local code=0
  acquire || return 1
  if install; then
    start "$@" || code=$?
  else
    code=1
  fi
  # When the machine is gone, a failure was a preemption.
  if { [ "$code" = 1 ] || [ "$code" = 76 ]; } && [ "$dry_run" = no ] && [ "$(state)" != READY ]; then
    code=75
  fi
  return "$code"
}

archive=$(mktemp -u).tar.gz
code=0
if [ "$dry_run" = yes ]; then
  archive=ARCHIVE.tar.gz
  attempt "$@" || true
  echo "# again until training ends with 0, with at most $retries failures; output goes to $log too"
else
  trap 'rm -f "$archive"' EXIT
  exec > >(tee -a "$log") 2>&1
  until_done "$retries" attempt "$@" || code=$?
fi
if [ "$delete" = yes ] && ! queued delete --force --quiet; then
  echo "error: $name was not given back, see above: delete it, or it goes on costing" >&2
  [ "$code" != 0 ] || code=1
fi
exit "$code"
