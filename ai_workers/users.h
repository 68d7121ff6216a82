/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The users file: where Gemini is, and each user with the API key of their own. The only place in Voxlane that holds keys. Pure
 * but for users_load(), which reads the file. No error or log line repeats a value of this file; every copy of its text is
 * overwritten before it is freed.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "../shared/file.h"
#include "../shared/settings.h"

#define USERS_NAME_SIZE 64 /* NUL included; as CALL_USER_SIZE */
#define USERS_MAX	10000
#define USERS_FILE_MAX	(16u * 1024u * 1024u) /* bytes */

/* wss://host[:port] */
struct users_endpoint {
	char host[256]; /* name or address, an IPv6 one without its brackets */
	uint16_t port;
};

struct user {
	char name[USERS_NAME_SIZE];
	char *api_key;	    /* for the x-goog-api-key header: printable ASCII without spaces */
	char voice[64];	    /* empty: the model's own */
	char language[36];  /* BCP 47; empty: the model decides */
	char *instructions; /* NULL: none */
	char model[128];    /* empty: users.gemini.model */
	char *greeting;	    /* what the model is asked to say first; NULL: it waits for the caller */
};

struct users {
	struct {
		struct users_endpoint endpoint;
		char ca_file[256]; /* empty: the system's CA store */
		char model[128];
		char api_version[16];
	} gemini;
	struct user *users;
	size_t count;
	const struct user **by_name; /* sorted, for users_find() */
};

/* The document's table. */
extern const struct vl_setting users_table[];

/*
 * Check a users file of `len` bytes. Any thread. `text` is not changed: the caller overwrites it. Returns the users, to be freed
 * with users_free(), or NULL with errno EINVAL, EMSGSIZE or ENOMEM and every error.
 */
struct users *users_parse(const char *text, size_t len, struct vl_errors *errors);

/*
 * Whether a file of this mode and owner is a safe place for keys, for a process of effective user `euid`: nobody else may read or
 * write it. Any thread. Returns 0, or -EPERM with an error that says what to run.
 */
int users_check_file(const char *path, const struct vl_file *file, uid_t euid, struct vl_error *error);

/*
 * Read and check the file at `path`. Worker, at start. As users_parse(); errno EPERM when others may read it. Errors do not name
 * the file.
 */
struct users *users_load(const char *path, struct vl_errors *errors);

/* Overwrite every key and text, then free. NULL is legal. */
void users_free(struct users *users);

/* The user with this name, NULL when there is none. Any thread. */
const struct user *users_find(const struct users *users, const char *name);

/* The model of a user: the user's own or the common one. Any thread. */
const char *users_model(const struct users *users, const struct user *user);
