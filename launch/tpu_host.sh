#!/usr/bin/env bash
# What launch/tpu_vm.sh runs on every host of a TPU VM.
#
#   bash launch/tpu_host.sh [--dry-run] install BUCKET   Python, the pinned packages, and BUCKET as /bucket
#   bash launch/tpu_host.sh [--dry-run] train FLAGS      trains; says at the end how it ended
#   bash launch/tpu_host.sh --help                       this text
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh

install_python() {
  if (find_python) > /dev/null 2>&1; then
    return
  fi
  run sudo add-apt-repository --yes ppa:deadsnakes/ppa
  run sudo apt-get install --yes python3.12 python3.12-venv
}

install_gcsfuse() {
  if command -v gcsfuse > /dev/null; then
    return
  fi
  local site=https://packages.cloud.google.com/apt key=/usr/share/keyrings/cloud.google.asc
  local source
  source="deb [signed-by=$key] $site gcsfuse-$(lsb_release --codename --short) main"
  run sudo curl --fail --silent --show-error --output "$key" "$site/doc/apt-key.gpg"
  run sudo sh -c "echo '$source' > /etc/apt/sources.list.d/gcsfuse.list"
  run sudo apt-get update
  run sudo apt-get install --yes gcsfuse
}

mount_bucket() {
  if mountpoint --quiet /bucket; then
    return
  fi
  run sudo mkdir -p /bucket
  run sudo chown "$(id -un)" /bucket
  # Hosts must see each other's files at once; a checkpoint is made complete by renaming its folder.
  run gcsfuse --implicit-dirs --metadata-cache-ttl-secs=0 --rename-dir-limit=1000000 "$1" /bucket
}

# What an earlier, cut connection left running is asked to save and end.
stop_leftover() {
  local pid
  pid=$(cat train.pid 2> /dev/null || true)
  if [ -n "$pid" ] && kill -TERM "$pid" 2> /dev/null; then
    echo "Waiting for the training that still runs here"
    tail --pid="$pid" --follow /dev/null
  fi
}

if [ "${1:-}" = --dry-run ]; then
  dry_run=yes
  shift
fi
case "${1:-}" in
  --help) print_help ;;
  install)
    require BUCKET "${2:-}"
    install_python
    install_gcsfuse
    mount_bucket "$2"
    run make_environment tpu
    ;;
  train)
    shift
    [ $# -gt 0 ] || fail "no training flags, see --help"
    [ "$dry_run" = yes ] || stop_leftover
    echo "+ $(quoted .venv/bin/python -m sr_jax.train "$@")"
    code=0
    if [ "$dry_run" = no ]; then
      # Into a file, so that a cut connection cuts nothing but what is shown.
      : > train.log
      .venv/bin/python -m sr_jax.train "$@" >> train.log 2>&1 &
      echo $! > train.pid
      tail --pid=$! --lines=+1 --follow train.log
      wait $! || code=$?
      rm train.pid
    fi
    echo "sr_jax ended with exit code $code on $(hostname)"
    exit "$code"
    ;;
  *) fail "unknown action '${1:-}': use install or train, see --help" ;;
esac
