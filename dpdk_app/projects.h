/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Projects of the service as workers name them, and how many calls each has. A project belongs to the account of the workers that
 * name it: another tenant's worker cannot use up its limit by giving the same name. Pure. Control thread only.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include <uthash.h>

#define PROJECT_NAME_SIZE 64 /* as USERS_NAME_SIZE of the workers */

struct project_key {
	uid_t uid;
	char name[PROJECT_NAME_SIZE]; /* filled up with zeros: it is part of a key */
};

struct project {
	UT_hash_handle hh;
	struct project_key key;
	uint32_t holders; /* users of attached workers, and calls */
	uint32_t calls;
	uint64_t refused; /* calls for which there was no room */
};

/* The project, made if need be, for one more holder. `projects` is the head of the registry, NULL at first. NULL without memory. */
struct project *projects_hold(struct project **projects, uid_t uid, const char *name);

/* The same project for one more holder. */
struct project *projects_share(struct project *project);

/* One holder less; the last one frees it. NULL is legal. */
void projects_release(struct project **projects, struct project *project);
