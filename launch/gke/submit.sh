#!/usr/bin/env bash
# Trains on a GKE cluster: starts a JobSet, shows the log of its first host, and says how it ended. Kubernetes restarts
# it after preemptions and failures until it is done. Run again, this follows a JobSet that runs, and makes one that ended
# anew, which goes on from the checkpoint in its workdir. Bad input ends with exit code 2, and training that has diverged
# with 3.
#
#   bash launch/gke/submit.sh tpu --name N --image I --bucket B --tpu v5p --topology 4x4x4 [--slices S] [OPTIONS] -- \
#       --config configs/stage_two.py:5b_i2v --workdir /bucket/W --config.data.dir=/bucket/D [TRAIN FLAGS]
#   bash launch/gke/submit.sh gpu --name N --image I --bucket B --gpu h100 --nodes 4 [OPTIONS] -- ...
#
#   --dry-run       print the manifest and what would be done, and do nothing
#   --help          this text; behind tpu or gpu, all options
#
# The cluster is that of kubectl's context. Logs of all hosts are in Cloud Logging too.
set -euo pipefail
cd "$(dirname "$0")/../.."
source launch/common.sh

case "${1:-}" in
  --help | -h) print_help; exit 0 ;;
  --dry-run) dry_run=yes; shift ;;
esac
# Wherever it stands among the options, before the training flags.
options=() name=''
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case "$1" in
    --dry-run) dry_run=yes ;;
    --help | -h) exec python3 launch/gke/render.py "${options[@]}" --help ;;
    --name) name=${2:-}; options+=("$1") ;;
    --name=*) name=${1#*=}; options+=("$1") ;;
    *) options+=("$1") ;;
  esac
  shift
done
manifest=$(python3 launch/gke/render.py "${options[@]}" "$@")
need kubectl "install it and choose a cluster"

# "Completed", or "Failed" and why; nothing while the JobSet runs and when there is none.
ended() {
  kubectl get jobset "$name" --ignore-not-found \
    --output=jsonpath='{.status.terminalState} {.status.conditions[?(@.type=="Failed")].reason}'
}

# What the jobs of the JobSet say about how they failed.
failures() {
  kubectl get jobs --selector="jobset.sigs.k8s.io/jobset-name=$name" \
    --output=jsonpath='{.items[*].status.conditions[?(@.type=="Failed")].message}'
}

apply() {
  local code=0 output
  output=$(run kubectl apply --filename=- <<< "$manifest" 2>&1) || code=$?
  case "$code $output" in
    "0 "*) echo "$output" ;;
    *immutable*)
      fail "the JobSet $name runs with other flags: give those, or stop it before with kubectl delete jobset $name"
      ;;
    *) echo "$output" >&2; exit "$code" ;;
  esac
}

if [ "$dry_run" = yes ]; then
  echo "$manifest"
  echo "# when the JobSet $name is Completed or Failed, it is deleted first"
  apply
  echo "# then follows the log of the first host until the JobSet is Completed or Failed"
  exit 0
fi

before=$(ended)
read -r state _ <<< "$before"
if [ -n "$state" ]; then
  echo "$name: $state before; it is made anew"
  # Applied to a JobSet that ended, the manifest would change nothing. In the foreground: its pods are gone then too.
  run kubectl delete jobset "$name" --cascade=foreground
fi
apply
while read -r state reason <<< "$(ended)" && [ -z "$state" ]; do
  # The log ends with its pod, and there is another pod after a restart.
  kubectl logs --follow --prefix --pod-running-timeout=10m \
    --selector="jobset.sigs.k8s.io/jobset-name=$name,jobset.sigs.k8s.io/job-index=0,batch.kubernetes.io/job-completion-index=0" \
    --container=train --tail=-1 || true
  sleep "${POLL_SECONDS:-10}"
done
echo "$name: $state${reason:+ ($reason)}"
case "$state $reason" in
  Completed*) exit 0 ;;
  # The only rule of the manifests that fails a JobSet at once is the one for exit codes 2 and 3.
  "Failed FailJobSetFailurePolicyAction")
    case $(failures) in
      *"exit code 3 matching"*) exit 3 ;;
      *) exit 2 ;;
    esac
    ;;
  *) exit 1 ;;
esac
