#!/bin/sh
# program_test.sh PROGRAM: a whole run on a device, from the command line to the evaluation of what it
# learned.
set -e
program=$1
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

"$program" info | grep -q 'cuda:0'
"$program" run multifashion --device cuda --methods left_alone,pcgrad --seeds 1 \
  --set train=24 --set validation=6 --set test=6 --set epochs=1 --set batch=8 --out "$out" --quiet
run=$(echo "$out"/*)
grep -q '^pcgrad,1,0,1,test,left,' "$run/metrics.csv"
"$program" eval "$run" | grep -q pcgrad
