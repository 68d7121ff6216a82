#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Counts the instructions of the hot functions under callgrind and compares them with tests/bench/instructions.json, or renews that record:
# when a function was meant to change, after a new compiler, and when functions were added (tests/bench/instructions_*.c).
# usage: ./scripts/instructions.sh [--renew]
# environment: VL_BUILD build directory (default build), which must have meson's default options: the record is of those
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$VL_ROOT"
[ $# = 0 ] || [ "$*" = --renew ] || die "usage: ./scripts/instructions.sh [--renew]"
VL_STEPS=3
step "checking the machine"
need_debian_12
install_packages
step "building into $VL_BUILD"
build "$VL_BUILD" tests/bench/instructions
step "counting"
/usr/bin/python3 tests/bench/instructions.py "$VL_BUILD/tests/bench/instructions" "$@"
