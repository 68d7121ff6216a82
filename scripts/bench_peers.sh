# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by bench.sh: the programs that benches compare Voxlane with, as Debian has them. Nothing else needs them, so they are not in packages.txt.

declare -A VL_PEERS=([receive]=dpdk-dev [peers]=rtpengine-daemon [wss]=cmake)

# install_peers BENCH...: the packages those benches want. No service of theirs is started, now or with the machine.
install_peers() {
	local name wanted=() missing policy=/usr/sbin/policy-rc.d ours=no
	for name; do
		[ -z "${VL_PEERS[$name]:-}" ] || wanted+=("${VL_PEERS[$name]}")
	done
	mapfile -t missing < <(missing_packages "${wanted[@]}")
	[ "${#missing[@]}" -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ]; then
		warn "these Debian packages are missing and need root to install, so there is nothing to compare with: ${missing[*]}"
		return 0
	fi
	note "installing what is compared with: ${missing[*]}"
	if [ ! -e "$policy" ]; then
		ours=yes
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
	apt_install "${missing[@]}"
	[ "$ours" = no ] || rm -f "$policy"
	if [[ " ${missing[*]} " == *" rtpengine-daemon "* ]] && command -v systemctl >/dev/null; then
		systemctl --quiet disable rtpengine-daemon 2>/dev/null || true
	fi
}

# libwebsockets_source DIRECTORY: its source in the version that is installed, from the archives that apt uses.
libwebsockets_source() {
	local place=$1 options version
	options=(-o "Dir::Etc::SourceList=$place/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$place/lists" -o APT::Sandbox::User=root)
	version=$(dpkg-query -W -f '${source:Version}' libwebsockets-dev)
	mkdir -p "$place/lists"
	quietly "$place/apt.log" apt-get -q update
	# shellcheck disable=SC2016
	apt-get indextargets --format 'deb-src $(SITE) $(RELEASE) main' 'Created-By: Packages' 'Component: main' 'Origin: Debian' 2>/dev/null |
		sort -u >"$place/sources.list"
	quietly "$place/apt.log" apt-get -q "${options[@]}" update
	cd "$place" || die "cannot enter $place."
	quietly "$place/apt.log" apt-get -q "${options[@]}" source "libwebsockets=$version"
}

# fetch_libwebsockets DIRECTORY: the source, once. Sets VL_LWS_SOURCE.
fetch_libwebsockets() {
	local place
	place=$(realpath -m "$1")
	[ -z "${VL_LWS_SOURCE:-}" ] || return 0
	if ! ls "$place"/libwebsockets-*/CMakeLists.txt >/dev/null 2>&1; then
		note "fetching the source of libwebsockets"
		if [ "$(id -u)" != 0 ] || ! (libwebsockets_source "$place"); then
			warn "the source is not to be had (it takes root and Debian's source archive): only Debian's build is measured."
			return 0
		fi
	fi
	VL_LWS_SOURCE=$(dirname "$(ls "$place"/libwebsockets-*/CMakeLists.txt)")
	export VL_LWS_SOURCE
}
