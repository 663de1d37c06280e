#!/usr/bin/env bash
# Makes the records of the original implementations anew: what they compute for the everyday tests, which have no PyTorch.
set -euo pipefail
cd "$(dirname "$0")/../.."
rm -f tests/originals/records/*.npz
bash launch/test.sh --parity --record -n 0
du -ch tests/originals/records/*.npz | tail -n 1
