#!/usr/bin/env bash
# Every stage once, at the size `smoke`: whether this machine runs all of it. Its numbers and clips mean nothing.
#
#   bash launch/smoke.sh            a minute or two on 2 cores, once everything is installed
#   bash launch/smoke.sh --help     this text
#
# Everything goes to smoke_output/ (or the folder named by OUTPUT). Run again, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh
source launch/steps.sh

render() {
  step "Render clips of $1" demo.people --output "$out/videos" --split "$1" --clips "$2" --height 32 --width 24 \
    --frames 5 --fps 8 --framing hips_up
}

fit() {
  step "Fit $1" demo.fit_teachers --config configs/teachers.py:smoke --videos "$out/videos" --output "$out/$1" "${@:2}"
}

case "${1:-}" in
  "") ;;
  --help) print_help; exit 0 ;;
  *) fail "unknown option $1: there are none but --help" ;;
esac
make_environment demo
start_steps "${OUTPUT:-smoke_output}"
size=smoke codec=--config.codec.path="$out/teachers/codec.npz"
render train 8
render test 2
fit teachers
fit judge --config.parts=faces --config.seed=1
step "Prepare the records" prepare --config configs/prepare.py:smoke --input "$out/videos" --output "$out/data" \
  "$codec" --config.faces.path="$out/teachers/faces"
train_step "Base run" base "$out/base"
train_step "Stage one" stage_one "$out/stage_one" --config.init.transformer="$out/base"
train_step "Structure judge" stage_one "$out/structure_judge" --config.train_modules="('structure',)" --config.seed=1
train_step "Stage two" stage_two "$out/stage_two" --config.init.transformer="$out/base" \
  --config.alignment.structure.module="$out/stage_one" --config.alignment.identity.module="$out/stage_one"
step "Sample" sample --config configs/sample.py:smoke --checkpoint "$out/stage_two" --data "$out/data" --split test \
  --output "$out/samples" "$codec"
step "Score" evaluate --config configs/evaluate.py:smoke --generated "$out/samples" --reference "$out/data/clips/test" \
  "$codec" --config.faces.path="$out/judge/faces" --config.structure="$out/structure_judge"
step "Export for diffusers" convert export --checkpoint "$out/stage_two" --output "$out/exported"
echo "Everything ran, in $((SECONDS / 60)) min $((SECONDS % 60)) s."
