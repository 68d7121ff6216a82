/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which users the service counts together: those of one project, and those with one key or, with Vertex AI, one billed project.
 * Pure.
 */
#pragma once

#include "users.h"

/*
 * Fill in in_project and key_first of every user whose key or resource is in place; may be called again when more are. Worker,
 * when a users file is read. Returns 0, -EINVAL with
 * errors for a project that is not listed, listed twice, or two for one key, or -ENOMEM.
 */
int users_find_projects(struct users *users, struct vl_errors *errors);
