#!/usr/bin/env bash
# `splitprobe run --slurm` on a SLURM of its own: jobs that are cancelled, a driver that is killed.
#
#     bash tests/cluster/slurm.sh [FILE FOR THE TRANSCRIPT]
#
# For a Debian machine that you may install things on, as root, for about five minutes on two cores (a fresh machine
# downloads torch first). Installs Debian's slurm-wlm and munge, and starts munged, slurmctld and slurmd with a
# configuration of their own (one node, two slots, ports 16817 and 16818) in a temporary folder; whatever SLURM the
# machine has is not touched. Builds, at scale tiny, a copy of this checkout in that folder, with the environment's
# `splitprobe` and Dask-Jobqueue, or with a virtual environment that it makes. Removes the folder and ends the daemons.
# Not part of the default test run. Stops at the first surprise, with a line that names it.
set -euo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
transcript=${1:-/dev/null}
folder=$(mktemp -d /tmp/splitprobe-slurm.XXXXXX)
driver=

finish() {
    local status=$?
    set +e
    [ -z "$driver" ] || kill "$driver" 2> /dev/null
    [ ! -e "$folder/slurmctld.pid" ] || scancel --user root
    for daemon in slurmd slurmctld munged; do
        [ ! -e "$folder/$daemon.pid" ] || kill "$(cat "$folder/$daemon.pid")"
    done
    while pgrep -f "$folder" > /dev/null && [ "$((waited += 1))" -lt 100 ]; do sleep 0.1; done
    rm -rf "$folder"
    [ "$status" = 0 ] || echo "failed" >&2
}
waited=0
trap finish EXIT

say() { echo "== $*" | tee -a "$transcript"; }
surprise() {
    echo "surprise: $*" >&2
    tail -n 30 "$folder"/*.log "$folder"/jobs/* "$folder"/output 2> /dev/null >&2 || true
    exit 1
}
until_true() { # SECONDS COMMAND...: wait until the command succeeds
    local end=$((SECONDS + $1))
    while ! "${@:2}" > /dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || surprise "waited $1 s in vain: ${*:2}"
        sleep 0.2
    done
}

# ---------------------------------------------------------------- SLURM, the checkout, the environment

[ "$(id -u)" = 0 ] || surprise "SLURM's daemons start jobs as root alone"
if ! command -v slurmctld slurmd munged git > /dev/null || ! python3 -c "import ensurepip"; then
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y slurm-wlm munge git python3-venv
fi > "$folder/apt.log" 2>&1
git clone -q "$here" "$folder/checkout"
(cd "$here" && git ls-files -z --deleted) | (cd "$folder/checkout" && xargs -0 -r rm -f)
(cd "$here" && git ls-files -z --modified --others --exclude-standard | tar -c --ignore-failed-read --null -T - 2> /dev/null) |
    tar -x -C "$folder/checkout"
cd "$folder/checkout"
sed -i 's/^scale: [a-z]*/scale: tiny/' params.yaml
if ! command -v splitprobe > /dev/null; then
    python3 -m venv "$folder/environment"
    export PATH=$folder/environment/bin:$PATH
    pip install -q -e '.[cluster]'
fi
python -c "import dask_jobqueue" 2> /dev/null || pip install -q 'dask-jobqueue>=0.8'

mkdir "$folder/state" "$folder/spool" "$folder/jobs"
chmod 755 "$folder"
head -c 1024 /dev/urandom > "$folder/munge.key"
chmod 400 "$folder/munge.key"
munged --key-file="$folder/munge.key" --socket="$folder/munge.socket" --seed-file="$folder/munge.seed" \
    --pid-file="$folder/munged.pid" --log-file="$folder/munged.log"
cat > "$folder/slurm.conf" << END
ClusterName=splitprobe
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
KillWait=5
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE
END
export SLURM_CONF=$folder/slurm.conf
slurmctld
slurmd
until_true 30 srun -n 1 true

# what a user writes into ~/.config/dask/jobqueue.yaml; `interface` and `log-directory` are this machine's affair
cat > "$folder/jobqueue.yaml" << END
jobqueue:
  slurm:
    cores: 1
    memory: 2 GB
    walltime: "00:20:00"
    interface: lo
    log-directory: $folder/jobs
END
export DASK_CONFIG=$folder OMP_WAIT_POLICY=passive

# ---------------------------------------------------------------- helpers of the checks

start() { # WORKERS TARGETS...: a driver in the background
    say "splitprobe run --slurm --workers $*"
    splitprobe run --slurm --workers "$@" > "$folder/output" 2>&1 &
    driver=$!
}
end() { # TARGETS...: it has built them
    wait "$driver" || surprise "splitprobe run ended with $?"
    driver=
    cat "$folder/output" | tee -a "$transcript"
    dvc status "$@" | tee "$folder/status" | grep -q "up to date" || surprise "dvc status: $(cat "$folder/status")"
    until_true 20 empty
}
empty() { [ -z "$(squeue -h)" ]; }
training() { # the process, job and name of a training that runs: it writes into its stage's log
    local process log
    for process in $(pgrep -f "^[^ ]*python[^ ]* $folder/checkout/src/splitprobe/engine/forkserver.py"); do
        log=$(readlink "/proc/$process/fd/1") || continue
        case $log in
            "$folder/checkout/.dvc/tmp/splitprobe/train_target@"*) ;;
            *) continue ;;
        esac
        echo "$process $(tr '\0' '\n' < "/proc/$process/environ" | sed -n 's/^SLURM_JOB_ID=//p') $(basename "$log" .log | tr '~' /)"
        return
    done
    return 1
}
cancel() { # cancel the job that a training runs in; its stage must be run again
    until_true 120 training
    read -r process job stage < <(training)
    say "scancel $job, which runs $stage"
    scancel "$job"
    until_true 15 eval "! kill -0 $process"
}
again() {
    grep -qF "$stage: its process was killed" "$folder/output" || surprise "$stage was not run again"
    grep -qF "] $stage built" "$folder/output" || surprise "$stage was not built"
}

# ---------------------------------------------------------------- the checks

targets=(build_table@table1 train_target@cnn/{unprotected,nls,vib,ae})
start 2 "${targets[@]}"
until_true 60 eval '[ "$(squeue -h -t R | wc -l)" = 2 ]'
squeue | tee -a "$transcript"
cancel
end "${targets[@]}"
again

start 1 train_target@cnn/{siftfunnel,nopeek}
cancel
until_true 60 eval '[ -n "$(squeue -h -t R)" ]' # a new job in its place
squeue | tee -a "$transcript"
end train_target@cnn/{siftfunnel,nopeek}
again

start 1 train_target@cnn/{bido,bido_cka}
until_true 120 training
read -r process job stage < <(training)
say "kill -9 $driver, the driver, while job $job runs $stage"
kill -9 "$driver"
wait "$driver" 2> /dev/null || true
driver=
until_true 30 eval "! kill -0 $process"
until_true 120 empty # Dask's `death-timeout`
say "its stage and its jobs have ended"
start 2 train_target@cnn/{bido,bido_cka}
end train_target@cnn/{bido,bido_cka}
say "passed in $SECONDS s"
