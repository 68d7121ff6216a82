/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a file can stand for the only CA that is trusted. libwebsockets says so in its log only and goes on without any CA, so that
 * every call fails later for a reason nobody expects; this says it while somebody looks.
 */
#pragma once

#include "../shared/json.h"

/*
 * Read the PEM file at `path` as the TLS library will. At start and for a reload, any thread. Returns 0 or -errno with the reason:
 * not there, not readable, no certificate in it, or -EPERM: others than root and we may change it.
 */
int ca_file_check(const char *path, struct vl_error *error);
