#!/usr/bin/env bash
# The whole method on one machine that has only Python 3.11, 3.12 or 3.13; ends with report.html.
#
#   bash launch/demo.sh                  from the small pretrained models that the package carries: violent motions of
#                                        new people, rendered with exact depth
#   bash launch/demo.sh --from-scratch   everything anew on smaller pictures, codec and base run too
#   bash launch/demo.sh --real           real clips, a detector and a recogniser that packages carry, a depth stand-in
#   bash launch/demo.sh --help           this text
#
# Everything goes to demo_output/ (scratch_output/, real_output/, or the folder named by OUTPUT). Run again, it goes on
# where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh
source launch/steps.sh
# The C library then takes a step's arrays in pages of 2 MiB where it did in 512 of 4 KiB: an eighth of a step's time.
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}

pretrained_data() {
  local near=(--height 88 --width 72 --frames 13 --fps 40 --framing hips_up --motions violent)
  fine_tuning=(--config.num_train_steps=150)
  codec=$out/pretrained/codec.safetensors base=$out/pretrained/transformer
  structure_judge=$out/pretrained/structure_judge face_judge=(--config.faces.path="$out/pretrained/judge")
  step "Lay out the pretrained models" demo.pretrained --output "$out/pretrained"
  # Another seed than that of the clips that the models were trained on: other people and other motions.
  step "Render clips to train on" demo.people --output "$out/videos" --split train --clips 320 --seed 1 "${near[@]}"
  step "Render held-out clips" demo.people --output "$out/videos" --split test --clips 64 --seed 1 "${near[@]}"
  step "Prepare the records" prepare --config configs/prepare.py:small --input "$out/videos" --output "$out/data" \
    --config.codec.path="$codec" --config.faces.path="$out/pretrained/teacher"
}

scratch_data() {
  face_judge=(--config.faces.path="$out/judge/faces")
  step "Render clips to train on" demo.people --output "$out/videos" --split train --clips 700 --fps 24
  step "Render held-out clips" demo.people --output "$out/videos" --split test --clips 64 --fps 24
  step "Fit the codec and a face teacher" demo.fit_teachers --config configs/teachers.py:people --videos "$out/videos" \
    --output "$out/teachers"
  step "Prepare the records" prepare --config configs/prepare.py:people --input "$out/videos" --output "$out/data" \
    --config.codec.path="$codec" --config.faces.path="$out/teachers/faces"
}

real_data() {
  step "Cut real clips" demo.real_clips --output "$out/videos"
  # Faces: the teacher and the judge are two recognisers that packages carry.
  step "Fit the codec" demo.fit_teachers --config configs/teachers.py:real --videos "$out/videos" --output "$out/teachers" \
    --config.parts=codec
  step "Prepare the records" prepare --config configs/prepare.py:real --input "$out/videos" --output "$out/data" \
    --config.codec.path="$codec"
}

# f_S and f_ID were trained on all that the transformer was trained on; here they see the clips that it is fine-tuned on.
pretrained_modules() {
  train_step "Stage one" stage_one "$out/stage_one" --config.init.modules="$out/pretrained/modules" \
    --config.num_train_steps=60 --config.optimizer.learning_rate=3e-4 --config.optimizer.muon_learning_rate=0.004
}

scratch_modules() {
  beside judges
  train_step "Base run" base "$base"
  train_step "Stage one" stage_one "$out/stage_one" --config.init.transformer="$base"
  join
}

real_modules() {
  scratch_modules
}

judges() {
  if [ "$kind" = scratch ]; then
    step "Fit the face judge" demo.fit_teachers --config configs/teachers.py:people --videos "$out/videos" \
      --output "$out/judge" --config.parts=faces --config.seed=1
  fi
  train_step "Structure judge" stage_one "$structure_judge" --config.train_modules="('structure',)" --config.seed=1
}

semantic_repa() {
  train_step "Stage two, SemanticREPA" stage_two "$out/semantic_repa" --config.init.transformer="$base" \
    --config.alignment.structure.module="$out/stage_one" --config.alignment.identity.module="$out/stage_one" \
    "${fine_tuning[@]}"
  sample_and_score semantic_repa
}

control() {
  train_step "Stage two, control" stage_two "$out/control" --config.init.transformer="$base" \
    --config.alignment.structure.weight=0.0 --config.alignment.identity.weight=0.0 "${fine_tuning[@]}"
  sample_and_score control
}

sample_and_score() {
  step "Sample $1" sample --config "configs/sample.py:$clips" --checkpoint "$out/$1" --data "$out/data" --split test \
    --output "$out/samples/$1" --config.codec.path="$codec"
  step "Score $1" evaluate --config "configs/evaluate.py:$clips_judged" --generated "$out/samples/$1" \
    --reference "$out/data/clips/test" --config.codec.path="$codec" --config.structure="$structure_judge" \
    "${face_judge[@]}"
}

pretrained_report() {
  report
}

scratch_report() {
  report --training "base run=$base" --training "judge=$structure_judge" \
    --fitted "teachers=$out/teachers/metrics.json" --fitted "face judge=$out/judge/metrics.json"
}

real_report() {
  report --training "base run=$base" --training "judge=$structure_judge" \
    --fitted "teachers=$out/teachers/metrics.json" --title "SemanticREPA on real clips" \
    --note "The depth is a stand-in: an inflated silhouette of the person, not the output of a depth network." \
    --note "Held-out clips are later seconds of the same few people, not new people."
}

report() {
  step "Report" report --data "$out/data" --output "$out/report.html" --steps "$out/steps.jsonl" "$@" \
    --run "SemanticREPA=$out/samples/semantic_repa" --run "control=$out/samples/control" \
    --training "alignment modules=$out/stage_one" --training "SemanticREPA=$out/semantic_repa" \
    --training "control=$out/control"
}

case "${1:-}" in
  "") kind=pretrained size=small clips=small clips_judged=small extra=demo output=demo_output ;;
  --from-scratch) kind=scratch size=tiny clips=people clips_judged=people extra=demo output=scratch_output ;;
  --real) kind=real size=real clips=people clips_judged=real extra=real output=real_output ;;
  --help) print_help; exit 0 ;;
  *) fail "unknown option $1: use --from-scratch, --real or nothing" ;;
esac
make_environment "$extra"
start_steps "${OUTPUT:-$output}"
codec=$out/teachers/codec.npz base=$out/base structure_judge=$out/structure_judge face_judge=() fine_tuning=()
"${kind}_data"
"${kind}_modules"
beside control
semantic_repa
join
"${kind}_report"
echo "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s. Open $out/report.html in a browser."
