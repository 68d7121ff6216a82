/* SPDX-License-Identifier: Apache-2.0 */
/* See projects.h. */
#include "projects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct project *projects_hold(struct project **projects, uid_t uid, const char *name)
{
	struct project_key key;
	struct project *project;

	memset(&key, 0, sizeof(key));
	key.uid = uid;
	snprintf(key.name, sizeof(key.name), "%s", name);
	HASH_FIND(hh, *projects, &key, sizeof(key), project);
	if (project == NULL) {
		project = calloc(1, sizeof(*project));
		if (project == NULL)
			return NULL;
		project->key = key;
		HASH_ADD(hh, *projects, key, sizeof(key), project);
	}
	return projects_share(project);
}

struct project *projects_share(struct project *project)
{
	project->holders++;
	return project;
}

void projects_release(struct project **projects, struct project *project)
{
	if (project == NULL || --project->holders > 0)
		return;
	HASH_DEL(*projects, project);
	free(project);
}
