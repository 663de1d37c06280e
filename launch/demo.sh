#!/usr/bin/env bash
# The whole method on one machine that has only Python 3.11 or 3.12; ends with report.html.
#
#   bash launch/demo.sh            rendered people with exact depth: 15 minutes on 2 cores after installation
#   bash launch/demo.sh --real     real clips, detectors and recognisers that packages carry, a depth stand-in
#
# Everything goes to demo_output/ (or real_output/; or the folder named by OUTPUT). Run again, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh
source launch/steps.sh

kind=people
case "${1:-}" in
  "") ;;
  --real) kind=real ;;
  *) echo "error: unknown option $1: use --real or nothing" >&2; exit 2 ;;
esac

if [ "$kind" = people ]; then
  make_environment demo
  start_steps "${OUTPUT:-demo_output}"
  source launch/demo_people.sh
else
  make_environment real
  start_steps "${OUTPUT:-real_output}"
  source launch/demo_real.sh
fi
echo "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s. Open $out/report.html in a browser."
