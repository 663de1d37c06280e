#!/usr/bin/env bash
# Tries `sr_jax.ablate` from nothing at a size at which its numbers mean nothing: a start in which every network had a
# handful of steps, and then a suite. Run again, it goes on where it was.
#
#   PYTHON=.venv/bin/python bash benchmarks/ablation_smoke.sh OUTPUT [paper|objectives]
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1 suite=${2:-paper}
python=${PYTHON:-python}
kind=people
if [ "$suite" = objectives ]; then
  # Tokens of a frozen encoder, whose weights are fetched at the first use.
  kind=people_tokens
fi
data="$out/data_$kind" codec="$out/teachers/codec.npz"
mkdir -p "$out"
JAX_COMPILATION_CACHE_DIR="$(cd "$out" && pwd)/compile_cache"
export JAX_COMPILATION_CACHE_DIR JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1

# made FILE MODULE ARGUMENTS...: runs a module of this project, unless the file that it ends with is there.
made() {
  local file=$1 module=$2
  shift 2
  if [ ! -e "$file" ]; then
    echo "\$ python -m sr_jax.$module $*"
    "$python" -m "sr_jax.$module" "$@"
  fi
}

# trained STAGE WORKDIR OVERRIDES...: a training of very few steps.
trained() {
  local stage=$1 workdir=$2
  shift 2
  made "$workdir/checkpoints/4" train --config "configs/$stage.py:tiny" --workdir "$workdir" --config.data.dir="$data" \
    --config.num_train_steps=4 --config.batch_size=2 --config.log_every=1 --config.optimizer.warmup_steps=1 "$@"
}

few=(--config.detector_schedule.steps=20 --config.recogniser_schedule.steps=20)
made "$out/videos/train/000015.mp4" demo.people --output "$out/videos" --split train --clips 16
made "$out/videos/test/000007.mp4" demo.people --output "$out/videos" --split test --clips 8
made "$out/teachers/metrics.json" demo.fit_teachers --config configs/teachers.py:people --videos "$out/videos" \
  --output "$out/teachers" "${few[@]}"
made "$out/judge/metrics.json" demo.fit_teachers --config configs/teachers.py:people --videos "$out/videos" \
  --output "$out/judge" --config.parts=faces --config.seed=1 "${few[@]}"
made "$out/body_parts/metrics.json" demo.body_parts --videos "$out/videos" --output "$out/body_parts" \
  --config.schedule.steps=20
made "$data/clips/test/index.jsonl" prepare --config "configs/prepare.py:$kind" --input "$out/videos" --output "$data" \
  --config.codec.path="$codec" --config.faces.path="$out/teachers/faces"
trained base "$out/base"
trained stage_one "$out/modules" --config.init.transformer="$out/base"
trained stage_one "$out/noisy" --config.init.transformer="$out/base" --config.train_modules="('structure',)" \
  --config.structure_input=noisy
trained stage_one "$out/no_depth" --config.train_modules="('identity',)" --config.identity.use_depth=False
trained stage_one "$out/structure_judge" --config.train_modules="('structure',)" --config.seed=1
"$python" -m sr_jax.ablate --config configs/ablate.py:smoke --suite "$suite" --output "$out/$suite" \
  --config.data.dir="$data" --config.codec="$codec" --config.start="$out/base" --config.modules.clean="$out/modules" \
  --config.modules.noisy="$out/noisy" --config.modules.no_depth="$out/no_depth" \
  --config.judges.structure="$out/structure_judge" --config.judges.faces="$out/judge/faces" \
  --config.judges.body_parts="$out/body_parts/body_parts.safetensors"
"$python" -m sr_jax.diagnose --config configs/stage_two.py:tiny --output "$out/diagnosis.json" --clips 8 --batches 2 \
  --config.batch_size=2 --config.data.dir="$data" --config.init.transformer="$out/base" \
  --config.alignment.structure.module="$out/modules" --config.alignment.identity.module="$out/modules"
echo "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s."
