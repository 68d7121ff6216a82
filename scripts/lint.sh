#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Style of everything in the tree: C by clang-format, shell by shellcheck, Python by its compiler, and what no file may hold.
# usage: ./scripts/lint.sh [--fix]     --fix lets clang-format rewrite the files
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$VL_ROOT"
passed=0 failed=0 log=$(mktemp /tmp/voxlane-lint.XXXXXX)
trap 'rm -f "$log"' EXIT

# check NAME COMMAND...: one line, and the output when it fails.
check() {
	local name=$1
	shift
	if "$@" >"$log" 2>&1; then
		passed=$((passed + 1))
		printf '      %sok%s   %s\n' "$VL_GREEN" "$VL_OFF" "$name"
	else
		failed=$((failed + 1))
		printf '      %sFAIL%s %s\n' "$VL_RED" "$VL_OFF" "$name"
		head -n 40 "$log"
	fi
}

# Run by sudo, the tree belongs to somebody else.
files() { git -c safe.directory='*' ls-files --cached --others --exclude-standard -- "$@"; }

mapfile -t c_files < <(files '*.c' '*.h')
mapfile -t shell_files < <(files '*.sh' '.ci/run')
mapfile -t python_files < <({
	files '*.py'
	files scripts tests | grep -vE '\.[a-z0-9]+$' | xargs -r grep -lE '^#!.*python3' || true
} | sort -u)
mapfile -t text_files < <(files '*.md' '*meson.build' '*meson_options.txt')

if [ "${1:-}" = --fix ]; then
	clang-format-14 -i "${c_files[@]}"
fi

# Every C and script file says its licence in the first lines.
licences() {
	local file bad=0
	for file in "${c_files[@]}" "${shell_files[@]}" "${python_files[@]}"; do
		head -n 3 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || { echo "$file: no SPDX line"; bad=1; }
	done
	return $bad
}

# This line names the words itself.
unfinished() { ! grep -nE '\b(TODO|FIXME|XXX)\b' -- "${c_files[@]}" "${python_files[@]}" "${shell_files[@]}" "${text_files[@]}" | grep -v 'lint.sh:[0-9]*:unfinished()'; }

python_compiles() {
	/usr/bin/python3 - "${python_files[@]}" <<'PYTHON'
import sys
for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as file:
        compile(file.read(), name, "exec")
PYTHON
}

check "clang-format (${#c_files[@]} files)" clang-format-14 --dry-run --Werror "${c_files[@]}"
check "shellcheck (${#shell_files[@]} files)" shellcheck -x "${shell_files[@]}"
check "python (${#python_files[@]} files)" python_compiles
check "licence lines" licences
check "nothing unfinished" unfinished
printf '%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" = 0 ]
