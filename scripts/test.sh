#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds, and runs the tests. The last line is "N passed, N failed, N skipped".
# usage: sudo ./scripts/test.sh [lint] [unit] [instructions] [sanitize] [conformance] [smoke] [isolation] [fuzz] [--long]     all of them by default
#   unit      unit tests of the normal build
#   instructions  counts those of the hot functions under callgrind and compares with tests/bench/instructions.json
#   sanitize  the unit tests under AddressSanitizer and UndefinedBehaviorSanitizer
#   conformance  the emulator against Google's own SDK; skips itself without Node.js 20
#   smoke     the real programs in network namespaces
#   isolation attacks and a hostile worker beside good calls (doc/threat-model.md), the watermark oracle (doc/isolation.md) and the exhaustive
#             check of the binding rules, the last two with planted faults that they must find; the session table under ThreadSanitizer;
#             --long: 10,000 calls, 160 through TLS, and ten minutes of states
#   fuzz      each fuzz target for FUZZ_SECONDS (120)
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$VL_ROOT"
suites=() long=no
for argument in "$@"; do
	if [ "$argument" = --long ]; then long=yes; else suites+=("$argument"); fi
done
[ "${#suites[@]}" -gt 0 ] || suites=(lint unit instructions sanitize conformance smoke isolation fuzz)
for suite in "${suites[@]}"; do
	case $suite in
	lint | unit | instructions | sanitize | conformance | smoke | isolation | fuzz) ;;
	*) die "'$suite' is no suite; there are lint, unit, instructions, sanitize, conformance, smoke, isolation and fuzz." ;;
	esac
done
wanted() { [[ " ${suites[*]} " == *" $1 "* ]]; }
VL_STEPS=$((${#suites[@]} + 3))
! wanted isolation || VL_STEPS=$((VL_STEPS + 2))
passed=0 failed=0 skipped=0
started=$SECONDS
failures=$(mktemp) again=$(mktemp)
trap 'rm -f "$failures" "$again"' EXIT

add() {
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
	if [ "$2" = 0 ]; then good "$1 passed, $3 skipped"; else warn "$1 passed, $2 failed, $3 skipped"; fi
}

# run_meson DIRECTORY SUITE [OPTION...]: run one suite and add its cases.
run_meson() {
	local directory=$1 suite=$2 code=0 counts
	shift 2
	local log="$directory/$suite.log" report="$directory/meson-logs/testlog.junit.xml"
	rm -f "$report"
	meson test -C "$directory" --no-rebuild --suite "$suite" --print-errorlogs "$@" >"$log" 2>&1 </dev/null || code=$?
	if [ ! -f "$report" ]; then
		tail -n 40 "$log"
		warn "meson ran no test; its output is in $log"
		add 0 1 0
		return
	fi
	# The next suite overwrites it.
	cp "$directory/meson-logs/testlog.txt" "$directory/$suite.txt"
	sed -nE 's/^# measured: ((second|third|fourth) try of .*)/      \1/p' "$directory/$suite.txt" >>"$again"
	counts=$(/usr/bin/python3 scripts/count_tests.py "$report" 2>>"$failures")
	# shellcheck disable=SC2086
	set -- $counts
	if [ "$code" != 0 ]; then
		grep -vE '^ok' "$log" | tail -n 60 || true
		grep -E '^(not ok|# .*(Error|error|FAIL))' "$directory/$suite.txt" | tail -n 40 || true
		# A failure that no case carries still counts.
		[ "$2" != 0 ] || set -- "$1" 1 "$3"
	fi
	add "$@"
}

step "checking the machine"
need_debian_12
need_memory 1024
if wanted smoke || wanted isolation; then
	need_root
	need_tun
fi
step "installing Debian packages"
install_packages
if wanted smoke || wanted isolation; then need_namespaces; fi
step "building into $VL_BUILD"
build "$VL_BUILD" all

if wanted lint; then
	step "lint"
	output=$(./scripts/lint.sh) || true
	echo "$output" | sed '$d'
	read -r p _ f _ < <(echo "$output" | tail -n 1)
	add "$p" "$f" 0
fi
if wanted unit; then
	step "unit tests"
	run_meson "$VL_BUILD" unit
fi
if wanted instructions; then
	step "instructions of the hot functions"
	run_meson "$VL_BUILD" instructions
	sed -nE 's/^1\.\.0 # SKIP (.*)/      skipped: \1/p' "$VL_BUILD/meson-logs/testlog.txt" 2>/dev/null || true
fi
if wanted sanitize; then
	step "unit tests under ASan and UBSan"
	# With sanitizers gcc 12 warns where nothing is wrong (-Wnonnull); the normal build has the warnings.
	build "$VL_BUILD-sanitize" meson-test-prereq -Db_sanitize=address,undefined -Dwerror=false
	run_meson "$VL_BUILD-sanitize" unit
fi
if wanted conformance; then
	step "the emulator against Google's own SDK"
	run_meson "$VL_BUILD" conformance
	sed -nE 's/^1\.\.0 # SKIP (.*)/      skipped: \1/p' "$VL_BUILD/meson-logs/testlog.txt" 2>/dev/null || true
fi
if wanted smoke; then
	step "smoke tests in network namespaces (a few minutes)"
	run_meson "$VL_BUILD" smoke
	grep -hE '^# (measured|barge-in)' "$VL_BUILD/smoke.log" "$VL_BUILD/smoke.txt" 2>/dev/null | grep -vE '(second|third|fourth) try of' | sort -u | sed 's/^# /      /' || true
fi
if wanted isolation; then
	step "exhaustive check of the binding rules"
	run_meson "$VL_BUILD" model
	if [ "$long" = yes ]; then
		if output=$("$VL_BUILD/tests/model/binding_model" --seconds 600 --memory-mb 2048); then add 1 0 0; else add 0 1 0; fi
		note "$(tail -n 1 <<<"$output")"
	fi
	step "the session table, and rings between packet cores, under ThreadSanitizer"
	build "$VL_BUILD-tsan" tests/unit/test_session_table -Db_sanitize=thread -Dwerror=false
	build "$VL_BUILD-tsan" tests/unit/test_flow_front
	build "$VL_BUILD-tsan" tests/unit/test_lcore_transmit
	run_meson "$VL_BUILD-tsan" concurrency
	step "the watermark oracle, attacks, a hostile worker"
	if [ "$long" = yes ]; then export VL_ORACLE_LONG=1; fi
	run_meson "$VL_BUILD" isolation
	sed -nE 's/^# (.*)/      \1/p' "$VL_BUILD/meson-logs/testlog.txt"
fi
if wanted fuzz; then
	step "fuzz targets, ${FUZZ_SECONDS:-120} s each"
	if output=$(FUZZ_SECONDS=${FUZZ_SECONDS:-120} ./scripts/fuzz.sh 2>&1 | tee "$VL_BUILD/fuzz.log"); then code=0; else code=$?; fi
	read -r p _ f _ s _ < <(grep -E '^[0-9]+ passed, [0-9]+ failed' <<<"$output" | tail -n 1 || true) || true
	if [ -z "${p:-}" ] || { [ "$code" != 0 ] && [ "${f:-0}" = 0 ]; }; then
		tail -n 40 <<<"$output"
		add 0 1 0
	else
		[ "$f" = 0 ] || tail -n 40 <<<"$output"
		add "$p" "$f" "${s:-0}"
	fi
fi
cat "$again" "$failures"
note "took $((SECONDS - started)) s, $(wc -l <"$again") tests tried again"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
