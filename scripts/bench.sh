#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds a release and runs the benches of tests/bench, one after the other, and prints what they measured as one table: medians, and in
# brackets the tenth to the ninetieth percentile. The same as JSON is in BUILD/NAME.json. Never fails on time.
# usage: ./scripts/bench.sh [NAME...]     NAME as in tests/bench/bench_NAME.c (or .py: with real programs in namespaces, as root); all by default
# What a bench compares us with is installed as well (see bench_peers.sh), as root; without root it is left out, and the bench says so.
# environment: VL_BENCH_BUILD build directory (default build-bench); VL_CPU_TARGET value of -march (default native)
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/bench_peers.sh
. "$(dirname "$0")/bench_peers.sh"
cd "$VL_ROOT"
VL_STEPS=3
build=${VL_BENCH_BUILD:-$VL_ROOT/build-bench}

step "checking the machine"
need_debian_12
need_memory 2048
install_packages
load=$(awk '{ print int($1) }' /proc/loadavg)
[ "$load" -lt "$(nproc)" ] || warn "the machine is busy (load $load on $(nproc) cores): numbers will be too high."

names=("$@")
if [ $# = 0 ]; then
	for source in tests/bench/bench_*.c tests/bench/bench_*.py; do
		[ ! -f "$source" ] || names+=("$(basename "${source%.*}" | sed 's/^bench_//')")
	done
fi
for name in "${names[@]}"; do
	[ -f "tests/bench/bench_$name.c" ] || [ -f "tests/bench/bench_$name.py" ] || die "there is no bench '$name' (tests/bench/bench_$name.c or .py)."
done
install_peers "${names[@]}"
step "building a release into $build"
mkdir -p "$build"
[ -f "$build/build.ninja" ] ||
	quietly "$build/setup.log" meson setup "$build" "$VL_ROOT" --buildtype=release "-Dcpu_target=${VL_CPU_TARGET:-native}"
quietly "$build/compile.log" meson compile -C "$build"

[[ " ${names[*]} " != *" wss "* ]] || fetch_libwebsockets "$build/libwebsockets"
step "measuring: ${names[*]}"
broken=0
for name in "${names[@]}"; do
	printf '%s%s%s\n' "$VL_BOLD" "$name" "$VL_OFF"
	program=("$build/tests/bench/bench_$name")
	[ -f "tests/bench/bench_$name.c" ] || program=(env "VL_BUILD=$build" /usr/bin/python3 "tests/bench/bench_$name.py")
	"${program[@]}" --json "$build/$name.json" 2>&1 | sed 's/^/  /' || {
		warn "bench '$name' did not end well."
		broken=1
	}
done
exit "$broken"
