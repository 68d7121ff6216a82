/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Google service account: the JSON key file that Google Cloud makes for it. Its private key lives in secret pages (secret.h) from the moment the file is read; no
 * error or log line repeats anything of it but the account's address.
 *
 * Several users, and the users before and after a reload, may hold one account: it is freed with the last.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../shared/json.h"
#include "secret.h"

#define SERVICE_ACCOUNT_FILE_MAX (64u * 1024u) /* a key file has 2.3 kB */
#define SERVICE_ACCOUNT_PATH	 256u

struct service_account {
	char path[SERVICE_ACCOUNT_PATH]; /* of its file */
	char email[256];		 /* client_email: its name in logs */
	char key_id[128];		 /* private_key_id, may be empty */
	char project[128];		 /* project_id, may be empty */
	char token_uri[256];		 /* https://host[:port]/path, as the assertion's audience has it */
	char token_host[256];
	char token_path[256];
	uint16_t token_port;
	const char *private_key; /* PEM, in `pages` */
	size_t private_key_size; /* with the NUL */
	struct secret_pages pages;
	unsigned int holders;
};

/*
 * Read the file at `path`, which only this process's user or root may own and read. At start and for a reload. Returns the account, held once, or NULL with errno
 * and the reason.
 */
struct service_account *service_account_load(const char *path, struct vl_error *error);

/* Make an account of a file's text; `path` is only kept. Any. `text` is not changed: the caller overwrites it. Returns as service_account_load(). */
struct service_account *service_account_parse(const char *path, const char *text, size_t len, struct vl_error *error);

/* Hold it once more, let go of it: overwritten and freed with the last holder. Worker loop. NULL is legal for letting go. */
struct service_account *service_account_hold(struct service_account *account);
void service_account_release(struct service_account *account);

/* Whether both are the same key of the same account, so that a token of one is a token of the other. Any. */
bool service_account_same(const struct service_account *a, const struct service_account *b);
