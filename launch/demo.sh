#!/usr/bin/env bash
# The whole method on one machine that has only Python 3.11, 3.12 or 3.13; ends with report.html.
#
#   bash launch/demo.sh            rendered people with exact depth: 10 to 15 minutes on 2 cores
#   bash launch/demo.sh --real     real clips, a detector and a recogniser that packages carry, a depth stand-in
#   bash launch/demo.sh --help     this text
#
# Everything goes to demo_output/ (or real_output/, or the folder named by OUTPUT). Run again, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh
source launch/steps.sh

people_records() {
  step "Render clips to train on" demo.people --output "$out/videos" --split train --clips 700 --fps 24
  step "Render held-out clips" demo.people --output "$out/videos" --split test --clips 64 --fps 24
  step "Fit the codec and a face teacher" demo.fit_teachers --config configs/teachers.py:people --videos "$out/videos" \
    --output "$out/teachers"
  step "Prepare the records" prepare --config configs/prepare.py:people --input "$out/videos" --output "$out/data" \
    --config.codec.path="$out/teachers/codec.npz" --config.faces.path="$out/teachers/faces"
}

real_records() {
  step "Cut real clips" demo.real_clips --output "$out/videos"
  # Faces: the teacher and the judge are two recognisers that packages carry.
  step "Fit the codec" demo.fit_teachers --config configs/teachers.py:real --videos "$out/videos" --output "$out/teachers" \
    --config.parts=codec
  step "Prepare the records" prepare --config configs/prepare.py:real --input "$out/videos" --output "$out/data" \
    --config.codec.path="$out/teachers/codec.npz"
}

judges() {
  if [ "$kind" = people ]; then
    step "Fit the face judge" demo.fit_teachers --config configs/teachers.py:people --videos "$out/videos" \
      --output "$out/judge" --config.parts=faces --config.seed=1
  fi
  train_step "Structure judge" stage_one "$out/structure_judge" --config.train_modules="('structure',)" --config.seed=1
}

base_and_stage_one() {
  train_step "Base run" base "$out/base"
  train_step "Stage one" stage_one "$out/stage_one" --config.init.transformer="$out/base"
}

semantic_repa() {
  train_step "Stage two, SemanticREPA" stage_two "$out/semantic_repa" --config.init.transformer="$out/base" \
    --config.alignment.structure.module="$out/stage_one" --config.alignment.identity.module="$out/stage_one"
  sample_and_score semantic_repa
}

control() {
  train_step "Stage two, control" stage_two "$out/control" --config.init.transformer="$out/base" \
    --config.alignment.structure.weight=0.0 --config.alignment.identity.weight=0.0
  sample_and_score control
}

sample_and_score() {
  local face_judge=()
  if [ "$kind" = people ]; then
    face_judge=(--config.faces.path="$out/judge/faces")
  fi
  step "Sample $1" sample --checkpoint "$out/$1" --data "$out/data" --split test --output "$out/samples/$1" \
    --config.codec.path="$out/teachers/codec.npz"
  step "Score $1" evaluate --config "configs/evaluate.py:$kind" --generated "$out/samples/$1" \
    --reference "$out/data/clips/test" --config.codec.path="$out/teachers/codec.npz" \
    --config.structure="$out/structure_judge" "${face_judge[@]}"
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
  --help) print_help; exit 0 ;;
  *) fail "unknown option $1: use --real or nothing" ;;
esac
make_environment "$extra"
start_steps "${OUTPUT:-$output}"
"${kind}_records"
beside judges
base_and_stage_one
join
beside control
semantic_repa
join
if [ "$kind" = real ]; then
  report --title "SemanticREPA on real clips" \
    --note "The depth is a stand-in: an inflated silhouette of the person, not the output of a depth network." \
    --note "Held-out clips are later seconds of the same few people, not new people."
else
  report --fitted "face judge=$out/judge/metrics.json"
fi
echo "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s. Open $out/report.html in a browser."
