/* SPDX-License-Identifier: Apache-2.0 */
/* A users file that is being changed by voxlane-keys: nobody else changes it meanwhile, and readers see the old or the new one, never half of it. */
#pragma once

#include <sys/types.h>

#include <cjson/cJSON.h>

#include "../shared/json.h"

struct keys_file {
	char *path;    /* with symbolic links followed */
	int directory; /* locked until the end */
	mode_t mode;
	uid_t owner;
	gid_t group;
	size_t len;
	cJSON *document;
	cJSON *users; /* its list */
};

/*
 * Lock and read. The file must be closed to everybody but its owner; each of its users must be an object with a name. Main. Returns 0 or -errno with the
 * reason, which never repeats a value; keys_file_close() is legal either way.
 */
int keys_file_open(struct keys_file *file, const char *path, struct vl_error *error);

/* Put a new file with the document, and the old one's owner, group and mode, in the old one's place. Main. Returns 0 or -errno with the reason. */
int keys_file_save(struct keys_file *file, struct vl_error *error);

/* Unlock, overwrite every string, free. Main. */
void keys_file_close(struct keys_file *file);

/* A user's member with a text, NULL when there is none. */
cJSON *keys_file_text(const cJSON *user, const char *member);

/* Put the text `sealed` as sealed_key where `key`, a member of `user`, is; its text is overwritten. Returns 0 or -ENOMEM. */
int keys_file_replace(cJSON *user, cJSON *key, const char *sealed);
