# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by the other scripts: progress, clear failures, checks of the machine, the build.

set -euo pipefail

VL_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VL_BUILD=${VL_BUILD:-$VL_ROOT/build}
VL_STEP=0
VL_STEPS=${VL_STEPS:-0}
VL_SCRIPT=$(basename "$0")

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
	VL_BOLD=$'\e[1m' VL_DIM=$'\e[2m' VL_GREEN=$'\e[32m' VL_RED=$'\e[31m' VL_YELLOW=$'\e[33m' VL_OFF=$'\e[0m'
else
	VL_BOLD='' VL_DIM='' VL_GREEN='' VL_RED='' VL_YELLOW='' VL_OFF=''
fi

# step TEXT: "[3/7] building ..."
step() {
	VL_STEP=$((VL_STEP + 1))
	printf '%s[%d/%d]%s %s\n' "$VL_BOLD" "$VL_STEP" "$VL_STEPS" "$VL_OFF" "$*"
}

note() { printf '      %s%s%s\n' "$VL_DIM" "$*" "$VL_OFF"; }
good() { printf '      %s%s%s\n' "$VL_GREEN" "$*" "$VL_OFF"; }
warn() { printf '      %s%s%s\n' "$VL_YELLOW" "$*" "$VL_OFF"; }

# die SENTENCE
die() {
	printf '%s%s: %s%s\n' "$VL_RED" "$VL_SCRIPT" "$*" "$VL_OFF" >&2
	exit 1
}

# quietly LOG COMMAND...: run with its output in LOG; show the end of it when it fails.
quietly() {
	local log=$1
	shift
	if ! "$@" >"$log" 2>&1 </dev/null; then
		tail -n 40 "$log" >&2
		die "'$*' failed; all of its output is in $log."
	fi
}

need_root() {
	[ "$(id -u)" = 0 ] || die "needs root for network namespaces and packages; run it with sudo."
}

need_debian_12() {
	local id='' version=''
	if [ -r /etc/os-release ]; then
		# shellcheck disable=SC1091
		id=$(. /etc/os-release && echo "${ID:-}")
		# shellcheck disable=SC1091
		version=$(. /etc/os-release && echo "${VERSION_ID:-}")
	fi
	[ "$id $version" = "debian 12" ] || die "needs Debian 12, but this is '${id:-unknown} ${version:-}'."
}

# need_memory MIB: available now, counting what the page cache would give back.
need_memory() {
	local available
	available=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
	[ "$available" -ge "$1" ] || die "needs $1 MiB of free memory, but only $available MiB are available."
}

need_tun() {
	[ -c /dev/net/tun ] || die "/dev/net/tun is missing; load the kernel's 'tun' module (modprobe tun) or give the container the device."
}

need_namespaces() {
	local name="vlcheck$$"
	ip netns add "$name" 2>/dev/null || die "may not make network namespaces here; run it on a machine or in a container with CAP_SYS_ADMIN."
	ip netns delete "$name"
}

# First word of each line of packages.txt.
package_names() {
	sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$VL_ROOT/scripts/packages.txt" | awk '{ print $1 }'
}

# missing_packages NAME...: those that are not installed, one per line.
missing_packages() {
	local name
	for name; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null || true)" = installed ] || echo "$name"
	done
}

# Install what is missing of the list; says what it does.
install_packages() {
	local names missing
	mapfile -t names < <(package_names)
	mapfile -t missing < <(missing_packages "${names[@]}")
	if [ "${#missing[@]}" = 0 ]; then
		note "all Debian packages are there"
		return
	fi
	[ "$(id -u)" = 0 ] || die "these Debian packages are missing and need root to install: ${missing[*]}"
	note "installing ${#missing[@]} Debian packages: ${missing[*]}"
	apt_install "${missing[@]}"
}

# apt_install NAME...
apt_install() {
	local log
	log=$(mktemp /tmp/voxlane-apt.XXXXXX)
	quietly "$log" apt-get -q update
	quietly "$log" env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@"
	rm -f "$log"
}

# build DIR TARGET [MESON OPTION...]: configure once, compile; "all", or "meson-test-prereq" for what the tests need.
build() {
	local directory=$1 target=$2
	shift 2
	mkdir -p "$directory"
	if [ ! -f "$directory/build.ninja" ]; then
		quietly "$directory/setup.log" meson setup "$directory" "$VL_ROOT" "$@"
	fi
	quietly "$directory/compile.log" ninja -C "$directory" "$target"
}
