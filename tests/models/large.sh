#!/bin/sh
# SPDX-License-Identifier: MIT
# The models in a larger world than the tests'. Wants up to 8 GB and some minutes each.
set -u
cd "$(dirname "$0")" || exit 1
MODEL_MB=${MODEL_MB:-8000}
export MODEL_MB
status=0
run() {
    echo "== $*"
    sh run.sh "$@" || status=1
}
run holds slot.pml -DLARGE
run holds counter.pml
run holds counter.pml -DWINDOW=3 -DUPDATES=11 -DMAX_DEATHS=1 -DNARROW
run holds condition.pml -DMAX_DEATHS=2
run holds lock.pml -DMAX_DEATHS=2 -DSTOPS=1
run holds lock.pml -DNO_SLICES -DMAX_DEATHS=1 -DPROCESSES=4
exit $status
