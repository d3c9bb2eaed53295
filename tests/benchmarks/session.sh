#!/usr/bin/env bash
# Rows of Table II on a GPU that is lent for minutes at a time, on a machine without DVC and Git.
#
#   tests/benchmarks/session.sh plan            here, with the scale in params.yaml: a plan for each row below
#   tests/benchmarks/session.sh work MINUTES    there, in a copy of this folder: the benchmark, once, then row by row
#   splitprobe adopt session/done               here, with session/done copied back; `plan` then leaves out what is there
#
# What is finished when the time is over is kept, and the next session goes on from there.
set -euo pipefail
cd "$(dirname "$0")/../.."
rows=(unprotected siftfunnel siftfunnel_architecture nopeek ae ae_adversarial bido_cka vib gaussian_noise dropout
  dpsgd groupnorm nls nls_constant mid bido infoscissors ressfl cem topk)
mkdir -p session/done
case "${1:-}" in
  plan)
    rm -f session/*.json
    for i in "${!rows[@]}"; do
      cell=cnn/${rows[i]} plan=session/$(printf %02d "$i").json
      splitprobe plan "train_generator@$cell" "run_mle@$cell" "train_mine@$cell" > "$plan"
      grep -q '"train_\|"run_' "$plan" || rm "$plan"
    done
    ls session
    ;;
  work)
    end=$((SECONDS + 60 * ${2:?minutes}))
    export PYTHONPATH=$PWD/src
    run="import sys; from splitprobe.engine.cli import main; sys.exit(main())"
    if [ ! -e session/done/gpu.txt ]; then
      timeout 180 python tests/benchmarks/gpu.py > session/gpu.part || echo "stopped early" >> session/gpu.part
      mv session/gpu.part session/done/gpu.txt
    fi
    for plan in session/*.json; do
      left=$((end - SECONDS))
      [ "$left" -gt 10 ] || break
      timeout "$left" python -c "$run" work "$plan" --out session/done || break
    done
    ;;
  *)
    sed -n '2,8s/^# \?//p' "$0"
    exit 2
    ;;
esac
