#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks the machine and installs the Debian packages that Voxlane is built, tested and shown with.
# usage: sudo ./scripts/setup.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
VL_STEPS=2
[ $# = 0 ] || die "takes no arguments."

step "checking the machine"
need_debian_12
need_root
need_memory 1024
step "installing Debian packages"
install_packages
good "ready; now ./scripts/demo.sh or ./scripts/test.sh"
