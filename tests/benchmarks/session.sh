#!/usr/bin/env bash
# Rows of Table II on a GPU that is lent for minutes at a time, on a machine without DVC and Git.
#
#   session.sh plan NUMBER               here, with the scale in params.yaml: so many plans, for two of the rows below each
#   session.sh bench [OPTION...]         there, in a copy of this folder: the benchmark, at most 3 minutes
#   session.sh work SECONDS [PER_GPU]    there: plan by plan, with so many stages at a time (3)
#   session.sh pack FOLDER               there: what is new in session/done, as files of at most 15 MB
#   cat FOLDER/*.tgz.* | tar xz          here, then `splitprobe adopt session/done`; `plan` then leaves out what is there
#
# What is finished when the time is over is kept, and the next session goes on from there. Prepared images are large and
# do not travel: they are made again there, and the plan's digests tell whether they are the same.
set -euo pipefail
cd "$(dirname "$0")/../.."
rows=(unprotected siftfunnel siftfunnel_architecture nopeek ae ae_adversarial bido_cka vib gaussian_noise dropout
  dpsgd groupnorm nls nls_constant mid bido infoscissors ressfl cem topk)
stages=(train_generator run_mle train_mine)
prepared=data/$(sed -n 's/^scale: *\([a-z]*\).*/\1/p' params.yaml)/prepared/objects
mkdir -p session/done
export PYTHONPATH=$PWD/src${PYTHONPATH:+:$PYTHONPATH}
case "${1:-}" in
  plan)
    left=${2:?number}
    rm -rf session/*.json session/prepared
    splitprobe run prepare@objects
    mkdir session/prepared
    cp "$prepared"/{summary.json,rejected.csv} session/prepared
    for ((i = 0; i < ${#rows[@]} && left > 0; i += 2)); do
      plan=session/$(printf %02d "$i").json
      splitprobe plan "${stages[@]/%/@cnn/${rows[i]}}" "${stages[@]/%/@cnn/${rows[i + 1]}}" > "$plan"
      if grep -q '"train_\|"run_' "$plan"; then ((left--)) || true; else rm "$plan"; fi
    done
    ls session
    ;;
  bench)
    timeout 180 python tests/benchmarks/gpu.py "${@:2}" > session/done/gpu.txt 2>&1 || echo "stopped early" >> session/done/gpu.txt
    ;;
  work)
    end=$((SECONDS + ${2:?seconds}))
    if [ ! -e "$prepared/images.npz" ]; then
      python stages/write_recipes.py
      python stages/prepare.py objects
      cp session/prepared/* "$prepared" # they name this machine's versions
    fi
    run="import sys; from splitprobe.engine.cli import main; sys.exit(main())"
    for plan in session/*.json; do
      left=$((end - SECONDS))
      [ "$left" -gt 10 ] || break
      timeout "$left" python -c "$run" work "$plan" --out session/done --per-gpu "${3:-3}" || break
    done
    ;;
  pack)
    since=(-newer session/packed)
    [ -e session/packed ] || since=()
    touch session/packing
    find session/done -type f "${since[@]}" -print0 | tar cz --null -T - | split -b 15M - "${2:?folder}/$(date +%s).tgz."
    mv session/packing session/packed
    ;;
  *)
    sed -n '2,11s/^# \?//p' "$0"
    exit 2
    ;;
esac
