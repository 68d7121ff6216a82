/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The users file's two services: what belongs to which, where each is, and with Vertex AI every user's service account and model resource.
 */
#pragma once

#include "users.h"

/* Fill in what `service` decides and refuse what belongs to the other one. Pure. Returns 0 or -EINVAL with every error. */
int users_vertex_check(struct users *users, struct vl_errors *errors);

/*
 * With Vertex AI: load the service accounts, one for all users of a file, and name every user's model. At start and for a reload. Returns 0, -EINVAL or -ENOMEM with
 * every error.
 */
int users_vertex_load(struct users *users, struct vl_errors *errors);
