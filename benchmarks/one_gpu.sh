#!/usr/bin/env bash
# What is worth measuring on one GPU of 140 GB in nine minutes, the most important first.
#
#   benchmarks/one_gpu.sh OUTPUT SECONDS [OPTIONS of benchmarks.side_by_side]
#
# With `--size tiny` it can be tried without a GPU. OUTPUT gets a folder for each group, with a file for each part as soon
# as there is something in it. sr_jax's transformers are compiled ahead, all at
# once, while what needs no long compilation is measured; they leave matrix products to cuBLAS, as PyTorch does, so that
# compiling does not try out kernels on the device while others are timed. A group that fails leaves its error.
set -u
output=$1 end=$((SECONDS + $2))
shift 2
cache=$(mktemp -d)
more=("$@")
cublas="--xla_gpu_enable_triton_gemm=false --xla_gpu_autotune_level=0"

# side NAME SECONDS [OPTIONS]: a call that takes no longer than this, and not beyond the end.
side() {
  local name=$1 limit=$2 left=$((end - SECONDS))
  shift 2
  if ((left < 20)); then
    echo "$name: the time is over"
    return
  fi
  python3 -m benchmarks.side_by_side --output "$output" --name "$name" --cache "$cache" --sampling-steps 4 \
    --seconds "$((limit < left ? limit : left))" "$@" "${more[@]}"
  echo "$name: done after $SECONDS seconds"
}

side ahead 150 --parts training sampling --contestants sr_jax stage_two --xla-flags="$cublas" --prepare &
ahead=$!
side text 90 --parts attention t5 --xla-flags="$cublas"
wait "$ahead"
# The next to be compiled ahead, on the cores that the steps leave idle.
side ahead 150 --parts training --contestants sr_jax stage_two --remat save_attention --xla-flags="$cublas" --prepare &
ahead=$!
side training 260 --parts training --contestants sr_jax stage_two pytorch --pairs 6 --xla-flags="$cublas"
side sampling 130 --parts sampling --xla-flags="$cublas"
wait "$ahead"
side training_best 110 --parts training --contestants sr_jax stage_two --remat save_attention --pairs 3 --turns 1 \
  --xla-flags="$cublas"
side vae 150 --parts vae_decode vae_encode --pairs 5
side training_tuned 120 --parts training --contestants pytorch_tuned --pairs 3 --turns 1
side rest 200 --parts forward input depth --pairs 5
