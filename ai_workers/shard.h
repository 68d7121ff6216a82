/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One tenant's users and no other's: a directory with a users file for each tenant, TENANT.json, each belonging to the UNIX user its
 * workers run as. That a worker cannot read another tenant's file is the kernel's doing; what is here refuses to start where it would not be so.
 */
#pragma once

#include <stddef.h>

#include "../shared/json.h"

/*
 * Check that this process, with the identity it has now, can read only `shard`'s file of `directory`, and write that file's path to
 * `path`. Main. Returns 0 or -errno with an error that says what to change.
 */
int shard_users_path(char *path, size_t size, const char *directory, const char *shard, struct vl_error *error);
