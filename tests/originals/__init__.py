"""What the original implementations compute, in PyTorch, diffusers and transformers: no other folder imports them.

Tests call the functions of these modules through the fixture `original`, which computes them live under `--parity` and
`--live`, and otherwise gives what was recorded (see `recording.py`). `bash tests/originals/record.sh` makes the records
anew.
"""
