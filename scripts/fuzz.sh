#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the libFuzzer targets of tests/fuzz under ASan and UBSan and runs each for a while, as many at once as there are cores. The last line is
# "N passed, N failed, N skipped". A finding is kept, and how to run it again is said.
# usage: ./scripts/fuzz.sh [MINUTES [NAME...]]     MINUTES for each target (default 2, or FUZZ_SECONDS); NAME as in tests/fuzz/fuzz_NAME.c
# The summary's coverage is of our functions that the target enters: how many, and the share of their edges that its corpus runs over.
# environment: FUZZ_JOBS targets at once (default: cores), VL_FUZZ_BUILD build directory (default build-fuzz)
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$VL_ROOT"
VL_STEPS=4
build=${VL_FUZZ_BUILD:-$VL_ROOT/build-fuzz}
seconds=${FUZZ_SECONDS:-120}
if [ $# != 0 ]; then
	[[ $1 =~ ^[1-9][0-9]*$ ]] || die "'$1' is no number of minutes."
	seconds=$(($1 * 60))
	shift
fi
[[ $seconds =~ ^[1-9][0-9]*$ ]] || die "FUZZ_SECONDS='$seconds' is no number."
jobs=${FUZZ_JOBS:-$(nproc)}
[[ $jobs =~ ^[1-9][0-9]*$ ]] || die "FUZZ_JOBS='$jobs' is no number."
declare -A pid_of=() # running targets
results=()

stop_all() {
	local pid
	for pid in "${pid_of[@]}"; do kill "$pid" 2>/dev/null || true; done
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step "checking for clang and libFuzzer"
missing=()
for package in clang-14 libclang-rt-14-dev; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done
mkdir -p "$build"
if [ ${#missing[@]} -gt 0 ]; then
	[ "$(id -u)" = 0 ] || die "these Debian packages are missing and need root to install: ${missing[*]}"
	note "installing ${missing[*]}"
	quietly "$build/apt.log" apt-get -q update
	quietly "$build/apt.log" env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "${missing[@]}"
fi
install_packages

step "building into $build"
if [ ! -f "$build/build.ninja" ]; then
	# Every file is instrumented; only the targets themselves are linked with libFuzzer's main().
	flags=-fsanitize=fuzzer-no-link,address,undefined,-fno-sanitize-recover=undefined
	quietly "$build/setup.log" env CC=clang-14 meson setup "$build" "$VL_ROOT" -Dfuzzing=true -Dwerror=false \
		-Db_lundef=false "-Dc_args=${flags/,-fno/ -fno}" "-Dc_link_args=-fsanitize=address,undefined"
fi
mapfile -t all < <(meson introspect --targets "$build" | /usr/bin/python3 -c '
import json, sys
print("\n".join(sorted(t["name"][5:] for t in json.load(sys.stdin) if t["name"].startswith("fuzz_"))))')
names=("$@")
[ $# -gt 0 ] || names=("${all[@]}")
for name in "${names[@]}"; do
	[[ " ${all[*]} " == *" $name "* ]] || die "there is no target '$name'; there are ${all[*]}."
done
quietly "$build/compile.log" meson compile -C "$build" "${names[@]/#/fuzz_}"

# start NAME: run it in the background; new inputs go to the build directory, the tree's seeds are only read.
start() {
	local name=$1 directory="$build/run/$1" extra=()
	mkdir -p "$directory/corpus" "$directory/findings" "tests/fuzz/corpus/$name"
	[ ! -f "tests/fuzz/$name.dict" ] || extra+=("-dict=tests/fuzz/$name.dict")
	"$build/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -print_pcs=0 \
		-artifact_prefix="$directory/findings/" "${extra[@]}" "$directory/corpus" "tests/fuzz/corpus/$name" \
		>"$directory/log" 2>&1 </dev/null &
	pid_of[$name]=$!
}

# last_of NAME PATTERN: the last number behind PATTERN in the target's log.
last_of() { grep -aoE "$2 *[0-9]+" "$build/run/$1/log" 2>/dev/null | tail -n 1 | grep -oE '[0-9]+$' || echo 0; }
executions() { grep -aoE '^#[0-9]+' "$build/run/$1/log" 2>/dev/null | tail -n 1 | tr -d '#' || true; }

# coverage NAME: "FUNCTIONS PERCENT" over its whole corpus.
coverage() {
	"$build/tests/fuzz/fuzz_$1" -runs=0 -timeout=10 -print_coverage=1 "$build/run/$1/corpus" "tests/fuzz/corpus/$1" 2>&1 </dev/null |
		awk '/^COVERED_FUNC/ && $NF ~ /\/(dpdk_app|ai_workers|shared|emulator)\// { split($5, edges, "/"); run += edges[1]; all += edges[2]; functions++ }
			END { printf "%d %d", functions, (all > 0 ? 100 * run / all : 0) }' || true
}

# finish NAME: wait for it and note its line of the summary.
finish() {
	local name=$1 code=0 count
	wait "${pid_of[$name]}" || code=$?
	unset "pid_of[$name]"
	count=$(last_of "$name" 'number_of_executed_units:')
	[ "$count" != 0 ] || count=$(executions "$name")
	results+=("$name|${count:-0}|$(last_of "$name" 'average_exec_per_sec:')|$(last_of "$name" 'cov:')|$(find "$build/run/$name/corpus" -type f | wc -l)|$code")
}

progress() {
	local name line=''
	for name in "${!pid_of[@]}"; do
		line+="  $name: $(executions "$name") runs, $(last_of "$name" 'cov:') edges"
	done
	line="${#results[@]}/${#names[@]} done$line"
	if [ -t 1 ]; then printf '\r\e[K      %.*s' "$((${COLUMNS:-130} - 8))" "$line"; else note "$line"; fi
}

step "running ${#names[@]} targets, $seconds s each, $jobs at once"
waiting=("${names[@]}") ticks=0
while [ ${#waiting[@]} -gt 0 ] || [ ${#pid_of[@]} -gt 0 ]; do
	while [ ${#waiting[@]} -gt 0 ] && [ ${#pid_of[@]} -lt "$jobs" ]; do
		start "${waiting[0]}"
		waiting=("${waiting[@]:1}")
	done
	sleep 1
	for name in "${!pid_of[@]}"; do
		kill -0 "${pid_of[$name]}" 2>/dev/null || finish "$name"
	done
	ticks=$((ticks + 1))
	if [ -t 1 ] || [ $((ticks % 15)) = 0 ]; then progress; fi
done
[ ! -t 1 ] || printf '\r\e[K'

step "summary"
passed=0 failed=0
printf '      %-20s %12s %9s %7s %9s %7s %7s  %s\n' target runs runs/s edges functions covered corpus result
for result in "${results[@]}"; do
	IFS='|' read -r name count rate edges corpus code <<<"$result"
	if [ "$code" = 0 ]; then
		passed=$((passed + 1)) word=ok
	else
		failed=$((failed + 1)) word="${VL_RED}FINDING${VL_OFF}"
	fi
	read -r functions covered < <(coverage "$name") || true
	printf '      %-20s %12s %9s %7s %9s %6s%% %7s  %s\n' "$name" "$count" "$rate" "$edges" "$functions" "$covered" "$corpus" "$word"
done
for result in "${results[@]}"; do
	IFS='|' read -r name _ _ _ _ code <<<"$result"
	[ "$code" != 0 ] || continue
	warn "$name: exit status $code; all of its output is in $build/run/$name/log"
	grep -aE '^(SUMMARY|==[0-9]+== ?ERROR|.*runtime error)' "$build/run/$name/log" | head -n 5 | sed 's/^/        /' || true
	newest=$(find "$build/run/$name/findings" -type f -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
	[ -z "$newest" ] || note "again: $build/tests/fuzz/fuzz_$name $newest"
done
printf '%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" = 0 ]
