#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shows Voxlane: installs what is missing, builds, and places two calls at the same time. --help lists the options.
# usage: sudo ./scripts/demo.sh [--seconds N] [--output DIR] [--endpoint URL --users FILE] [--hugepages] [--plain] [--keep]
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
VL_STEPS=4
case " $* " in
*" --help "* | *" -h "*) exec /usr/bin/python3 "$VL_ROOT/scripts/demo.py" --help ;;
esac

step "checking the machine"
need_debian_12
need_root
need_memory 1536
need_tun
case " $* " in
*" --hugepages "*)
	free=$(awk '/^HugePages_Free:/ { print $2 }' /proc/meminfo)
	size=$(awk '/^Hugepagesize:/ { print $2 }' /proc/meminfo)
	[ $((${free:-0} * ${size:-0})) -ge 524288 ] || die "--hugepages needs 512 MiB of free hugepages, but there are ${free:-0} of ${size:-0} KiB (echo 256 > /proc/sys/vm/nr_hugepages)."
	;;
esac
step "installing Debian packages"
install_packages
need_namespaces
step "building into $VL_BUILD (a minute the first time)"
build "$VL_BUILD" meson-test-prereq
step "the demo"
export VL_BUILD PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 "$VL_ROOT/scripts/demo.py" "$@"
