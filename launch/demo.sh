#!/usr/bin/env bash
# The whole method on one machine that has only Python 3.11 or 3.12; ends with report.html.
#
#   bash launch/demo.sh            rendered people with exact depth: about 16 minutes on 2 cores
#   bash launch/demo.sh --real     real clips, a detector and a recogniser that packages carry, a depth stand-in
#
# Everything goes to demo_output/ (or real_output/, or the folder named by OUTPUT). Run again, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh
source launch/steps.sh

people_records() {
  step "Render clips to train on" people --output "$out/videos" --split train --clips 700 --fps 24
  step "Render held-out clips" people --output "$out/videos" --split test --clips 64 --fps 24
  step "Fit the codec and a face teacher" fit_teachers --config configs/teachers.py:people --videos "$out/videos" \
    --output "$out/teachers"
  step "Fit the face judge" fit_teachers --config configs/teachers.py:people --videos "$out/videos" \
    --output "$out/judge" --config.parts=faces --config.seed=1
  step "Prepare the records" prepare --config configs/prepare.py:people --input "$out/videos" --output "$out/data" \
    --config.codec.path="$out/teachers/codec.npz" --config.faces.path="$out/teachers/faces"
}

real_records() {
  step "Cut real clips" real_clips --output "$out/videos"
  # Faces: the teacher and the judge are two recognisers that packages carry.
  step "Fit the codec" fit_teachers --config configs/teachers.py:real --videos "$out/videos" --output "$out/teachers" \
    --config.parts=codec
  step "Prepare the records" prepare --config configs/prepare.py:real --input "$out/videos" --output "$out/data" \
    --config.codec.path="$out/teachers/codec.npz"
}

both_stages() {
  local base=--config.init.transformer="$out/base"
  train_step "Base run" base "$out/base"
  train_step "Stage one" stage_one "$out/stage_one" "$base"
  train_step "Structure judge" stage_one "$out/structure_judge" --config.train_modules="('structure',)" --config.seed=1
  train_step "Stage two, SemanticREPA" stage_two "$out/semantic_repa" "$base" \
    --config.frozen.structure="$out/stage_one" --config.frozen.identity="$out/stage_one"
  train_step "Stage two, control" stage_two "$out/control" "$base" \
    --config.structure_weight=0.0 --config.identity_weight=0.0
}

scores() {
  local run
  for run in semantic_repa control; do
    step "Sample $run" sample --checkpoint "$out/$run" --data "$out/data" --split test --output "$out/samples/$run" \
      --config.codec.path="$out/teachers/codec.npz"
    step "Score $run" evaluate --config "configs/evaluate.py:$kind" --generated "$out/samples/$run" \
      --reference "$out/data/clips/test" --config.codec.path="$out/teachers/codec.npz" \
      --config.structure="$out/structure_judge" "$@"
  done
}

report() {
  step "Report" report --data "$out/data" --output "$out/report.html" --steps "$out/steps.jsonl" "$@" \
    --run "SemanticREPA=$out/samples/semantic_repa" --run "control=$out/samples/control" \
    --training "base run=$out/base" --training "alignment modules=$out/stage_one" \
    --training "judge=$out/structure_judge" --training "SemanticREPA=$out/semantic_repa" \
    --training "control=$out/control" --fitted "teachers=$out/teachers/metrics.json"
}

case "${1:-}" in
  "") kind=people size=tiny extra=demo output=demo_output ;;
  --real) kind=real size=real extra=real output=real_output ;;
  *) echo "error: unknown option $1: use --real or nothing" >&2; exit 2 ;;
esac
make_environment "$extra"
start_steps "${OUTPUT:-$output}"
"${kind}_records"
both_stages
if [ "$kind" = real ]; then
  scores
  report --title "SemanticREPA on real clips" \
    --note "The depth is a stand-in: an inflated silhouette of the person, not the output of a depth network." \
    --note "Held-out clips are later seconds of the same few people, not new people."
else
  scores --config.faces.path="$out/judge/faces"
  report --fitted "face judge=$out/judge/metrics.json"
fi
echo "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s. Open $out/report.html in a browser."
