# Sourced by launch/demo.sh: the method on rendered people.

step "Render clips to train on" people --output "$out/videos" --split train --clips 420
step "Render held-out clips" people --output "$out/videos" --split test --clips 64
step "Fit codec and face teacher" fit_teachers --config configs/teachers.py:people --videos "$out/videos" \
  --output "$out/teachers"
step "Fit the face judge" fit_teachers --config configs/teachers.py:people --videos "$out/videos" \
  --output "$out/judge" --config.parts=faces --config.seed=1
step "Prepare the records" prepare --config configs/prepare.py:people --input "$out/videos" --output "$out/data" \
  --config.codec.path="$out/teachers/codec.npz" --config.faces.path="$out/teachers/faces"

train_step "Base run" base "$out/base"
train_step "Stage one" stage_one "$out/stage_one" --config.init.transformer="$out/base"
train_step "Structure judge" stage_one "$out/structure_judge" --config.train_modules="('structure',)" --config.seed=1
train_step "Stage two, SemanticREPA" stage_two "$out/semantic_repa" --config.init.transformer="$out/base" \
  --config.frozen.structure="$out/stage_one" --config.frozen.identity="$out/stage_one"
train_step "Stage two, control" stage_two "$out/control" --config.init.transformer="$out/base" \
  --config.structure_weight=0.0 --config.identity_weight=0.0

for run in semantic_repa control; do
  step "Sample $run" sample --checkpoint "$out/$run" --data "$out/data" --split test --output "$out/samples/$run" \
    --config.codec.path="$out/teachers/codec.npz"
  step "Score $run" evaluate --config configs/evaluate.py:people --generated "$out/samples/$run" \
    --reference "$out/data/clips/test" --config.codec.path="$out/teachers/codec.npz" \
    --config.faces.path="$out/judge/faces" --config.structure="$out/structure_judge"
done
step "Report" report --data "$out/data" --output "$out/report.html" --steps "$out/steps.jsonl" \
  --run "SemanticREPA=$out/samples/semantic_repa" --run "control=$out/samples/control" \
  --training "base run=$out/base" --training "stage one=$out/stage_one" \
  --training "SemanticREPA=$out/semantic_repa" --training "control=$out/control" \
  --fitted "teachers=$out/teachers/metrics.json" --fitted "face judge=$out/judge/metrics.json"
