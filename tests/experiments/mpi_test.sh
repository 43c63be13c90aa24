#!/bin/sh
# Ranks against one process: mpi_test.sh CONCORD MPIEXEC. Same bits, an end within seconds when a rank dies,
# and the same bits again when the run that lost it is resumed.
set -u
concord=$1
mpiexec=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Four ranks on however few processors, as whatever user the tests run.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMP_NUM_THREADS=1 ASAN_OPTIONS=detect_leaks=0

fail() { echo "FAILED: $*"; for f in "$work"/*.log; do echo "--- $f"; tail -n 20 "$f"; done; exit 1; }
# The only run folder in $work/$1.
folder() { echo "$work/$1"/zeng-*; }
# A process that ended may stay in the table until somebody asks for its status.
alive() { [ -e "/proc/$1" ] && ! grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null; }
same() {
  cmp "$(folder one)/metrics.csv" "$(folder "$1")/metrics.csv" || fail "$1: other metrics"
  for f in "$(folder one)"/checkpoints/*-*.safetensors; do
    cmp "$f" "$(folder "$1")/checkpoints/${f##*/}" || fail "$1: other theta"
  done
}

# One map of four environments and one of six: one agent per rank, and ranks with two.
run="run zeng --quiet --threads 1 --set studies=maps,sampled --set maps=b,d --set gammas=0.95 \
  --set lambdas=0 --set seeds=1 --set sampled_steps=30 --set log_every=20 --set checkpoint_seconds=0"
short="--set iterations=100"

"$concord" $run $short --out "$work/one" >"$work/one.log" 2>&1 || fail "one process"
"$mpiexec" -n 4 "$concord" $run $short --out "$work/four" >"$work/four.log" 2>&1 || fail "four ranks"
same four
echo "four ranks: same bits"

# A rank that is killed: rank 2, once there is a checkpoint. The run is long; the rest is not computed.
long="--set iterations=2000000"
"$mpiexec" -n 4 sh -c 'echo $$ >"$0/pid$OMPI_COMM_WORLD_RANK"; exec "$@"' "$work" \
  "$concord" $run $long --out "$work/killed" >"$work/killed.log" 2>&1 &
launcher=$!
tries=0
until [ -e "$(folder killed)/checkpoints/progress.safetensors" ]; do
  tries=$((tries + 1))
  [ $tries -lt 300 ] || fail "no checkpoint within 30 s"
  sleep 0.1
done
began=$(date +%s)
kill -KILL "$(cat "$work/pid2")"
wait $launcher && fail "status 0 although rank 2 was killed"
grep -q 'rank 2' "$work/killed.log" || fail "no line names rank 2"
for rank in 0 1 3; do
  while alive "$(cat "$work/pid$rank")"; do
    [ $(($(date +%s) - began)) -le 10 ] || fail "rank $rank runs 10 s later"
    sleep 0.1
  done
done
echo "rank 2 killed: all ended within $(($(date +%s) - began)) s: $(grep -m 1 'rank 2' "$work/killed.log")"

# The same with an end in reach, so that it can be resumed: to the same bits, on one rank or three.
for ranks in 1 3; do
  name=resumed$ranks
  "$mpiexec" -n 4 sh -c 'echo $$ >"$0/pid$OMPI_COMM_WORLD_RANK"; exec "$@"' "$work" \
    "$concord" $run $short --out "$work/$name" >"$work/$name.log" 2>&1 &
  launcher=$!
  until [ -e "$(folder $name)/checkpoints/progress.safetensors" ]; do sleep 0.01; done
  kill -KILL "$(cat "$work/pid1")"
  wait $launcher
  "$mpiexec" -n $ranks "$concord" resume --quiet "$(folder $name)" >>"$work/$name.log" 2>&1 ||
    fail "resume on $ranks ranks"
  same $name
  echo "resumed on $ranks: same bits"
done

# An experiment that knows no ranks says so, at once.
if "$mpiexec" -n 2 "$concord" run du-toy --out "$work/toy" >"$work/toy.log" 2>&1; then
  fail "du-toy ran on two ranks"
fi
grep -q 'du-toy: started as one of 2 ranks' "$work/toy.log" || fail "du-toy: other words"
