#!/usr/bin/env bash
# Trains on a GKE cluster: starts a JobSet, shows the log of its first host, and says how it ended. Kubernetes restarts
# it after preemptions and failures until it is done.
#
#   bash launch/gke/submit.sh tpu --name N --image I --bucket B --tpu v5p --topology 4x4x4 [--slices S] [OPTIONS] -- \
#       --config configs/stage_two.py:5b_i2v --workdir /bucket/W --config.data.dir=/bucket/D [TRAIN FLAGS]
#   bash launch/gke/submit.sh gpu --name N --image I --bucket B --gpu h100 --nodes 4 [OPTIONS] -- ...
#
#   --dry-run       print the manifest and what would be done, and do nothing
#   --help          this text; python3 launch/gke/render.py tpu --help lists the options
#
# The cluster is that of kubectl's context. Logs of all hosts are in Cloud Logging too.
set -euo pipefail
cd "$(dirname "$0")/../.."
source launch/common.sh

case "${1:-}" in
  --help) print_help; exit 0 ;;
  --dry-run) dry_run=yes; shift ;;
esac
# Wherever it stands among the options, before the training flags.
options=() name=''
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case "$1" in
    --dry-run) dry_run=yes ;;
    --name) name=${2:-}; options+=("$1") ;;
    --name=*) name=${1#*=}; options+=("$1") ;;
    *) options+=("$1") ;;
  esac
  shift
done
manifest=$(python3 launch/gke/render.py "${options[@]}" "$@")
need kubectl "install it and choose a cluster"

# The JobSet's condition that is true and last, once there is one.
ended() {
  kubectl get jobset "$name" --output=jsonpath='{.status.terminalState}'
}

if [ "$dry_run" = yes ]; then
  echo "$manifest"
fi
run kubectl apply --filename=- <<< "$manifest"
if [ "$dry_run" = no ]; then
  until [ -n "$(ended)" ]; do
    # The log ends with its pod, and there is another pod after a restart.
    kubectl logs --follow --prefix --pod-running-timeout=10m \
      --selector="jobset.sigs.k8s.io/jobset-name=$name,jobset.sigs.k8s.io/job-index=0,batch.kubernetes.io/job-completion-index=0" \
      --container=train --tail=-1 || true
    sleep "${POLL_SECONDS:-10}"
  done
  echo "$name: $(ended)"
  [ "$(ended)" = Completed ]
else
  echo "# then follows the log of the first host until the JobSet is Completed or Failed"
fi
