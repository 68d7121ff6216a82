#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Writes doc/configuration.md from the settings tables; run it after changing one.
# usage: ./scripts/reference.sh
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$VL_ROOT"
[ -d "$VL_BUILD" ] || meson setup "$VL_BUILD" >/dev/null
meson compile -C "$VL_BUILD" write_reference >/dev/null
"$VL_BUILD/tests/tools/write_reference" >doc/configuration.md
note "wrote doc/configuration.md"
