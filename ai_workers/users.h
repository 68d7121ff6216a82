/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The users file: where Gemini is, and each user with the API key of their own, plain or sealed (seal.h). The only place in Voxlane
 * that holds keys. Pure but for users_load(), which reads the file. No error or log line repeats a value of this file; every copy of
 * its text is overwritten before it is freed, and the keys themselves live in secret pages (secret.h).
 *
 * A reload makes a new struct users. The old one is retired: keys that no call uses are overwritten at once, the others when their
 * last call ends.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "../shared/file.h"
#include "../shared/settings.h"
#include "master_key.h"
#include "secret.h"
#include "service_account.h"
#include "tools.h"

#define USERS_NAME_SIZE 64 /* NUL included; as CALL_USER_SIZE */
#define USERS_MAX	10000
#define USERS_FILE_MAX	(16u * 1024u * 1024u) /* bytes */

/* wss://host[:port] */
struct users_endpoint {
	char host[256]; /* name or address, an IPv6 one without its brackets */
	uint16_t port;
};

/* What the service counts together: its limits are of the project, not of the key. */
struct user_project {
	char name[USERS_NAME_SIZE];
	uint32_t max_calls;		/* at a time, over all workers; 0: no limit of ours */
	uint32_t handshakes_per_second; /* of one worker; 0: no limit of its own */
};

enum users_service { USERS_DEVELOPER, USERS_VERTEX };

/* Whose quota and whose account, with Vertex AI. Empty: as in `gemini.vertex`. */
struct users_account {
	char project[128];	/* empty there too: the account's own */
	char account_file[256]; /* service_account_file */
};

struct user {
	char name[USERS_NAME_SIZE];
	char project[USERS_NAME_SIZE]; /* as the file has it; empty: see in_project */
	char *api_key; /* for the x-goog-api-key header: printable ASCII without spaces; in users->keys. NULL: wiped, or Vertex AI */
	char *sealed_key;   /* as the file has it, NULL: plain */
	char voice[64];	    /* empty: the model's own */
	char language[36];  /* BCP 47; empty: the model decides */
	bool language_said; /* the log says that the model takes no language code */
	char *instructions; /* NULL: none */
	char model[128];    /* empty: users.gemini.model */
	char *greeting;	    /* what the model is asked to say first; NULL: it waits for the caller */
	struct users_account vertex;
	bool vertex_given;
	struct service_account *account; /* Vertex AI; held. NULL: api_key is used */
	char *resource;			 /* Vertex AI: projects/P/locations/L/publishers/google/models/M */
	bool dtmf_to_model;		 /* what the caller presses is told to the model */
	struct tool *tools;		 /* functions its model may call */
	size_t tool_count;
	struct users *users;
	const struct user_project *in_project; /* its own, or that of another user with the same key; NULL: none */
	const struct user *key_first;	       /* the first user of the file with the same key, often itself */
	unsigned int calls;		       /* that hold this user */

	bool local_barge_in; /* the worker's own voice detection stops the model, before the service says so */
};

struct users {
	struct {
		int service; /* enum users_service */
		struct users_endpoint endpoint;
		char ca_file[256]; /* empty: the system's CA store */
		char model[128];
		char api_version[16];
		struct users_account vertex;
		char location[64]; /* Vertex AI */
		bool vertex_given;
		uint32_t rotate_after_s; /* age at which connections are changed */
	} gemini;
	struct user_project *projects;
	size_t project_count;
	struct user *users;
	size_t count;
	struct user **by_name; /* sorted, for users_find() */
	struct secret_pages keys;
	unsigned int held; /* sum of the users' calls */
	bool retired;
};

/* The document's table. */
extern const struct vl_setting users_table[];

/*
 * Check a users file of `len` bytes and open its sealed keys with `master` (SEAL_MASTER_SIZE bytes, or NULL: there is none). Any
 * thread. `text` is not changed: the caller overwrites it. Returns the users, to be freed with users_free(), or NULL with errno
 * EINVAL, EMSGSIZE, ENOMEM or what locking memory said, and every error.
 */
struct users *users_parse(const char *text, size_t len, const uint8_t *master, struct vl_errors *errors);

/*
 * Read and check the file at `path`; `master` (or NULL) is loaded for it and forgotten again. Worker, at start and for a reload. As
 * users_parse(), and `gemini.ca_file` and service accounts' files must be usable; errno EPERM when others may read the file. Errors do not name the file.
 */
struct users *users_load(const char *path, struct master_key *master, struct vl_errors *errors);

/* Whether a text can be an API key: what goes into an HTTP header as it is. Any thread. */
bool users_valid_key(const char *text);

/* Overwrite every key and text, then free, whoever holds a user. NULL is legal. */
void users_free(struct users *users);

/* The user with this name, NULL when there is none. Any thread. */
struct user *users_find(const struct users *users, const char *name);

/* A call begins to use the user and its key; users_release() when it ends. Worker loop. */
void users_hold(struct user *user);

/* The call is over. Worker loop. May free the user. */
void users_release(struct user *user);

/* Nobody new will use these: overwrite the keys that no call holds, free everything with the last call. Worker loop. */
void users_retire(struct users *users);

/* The model of a user, the user's own or the common one, as setup names it: with Vertex AI the whole resource. Any thread. */
const char *users_model(const struct user *user);
