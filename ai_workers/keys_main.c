/* SPDX-License-Identifier: Apache-2.0 */
/*
 * voxlane-keys: seals the API keys of a users file under a master key, lists what is sealed, and moves sealed keys to another master key. What
 * `voxlanectl keys` runs. Keys come from standard input or a person, never from the command line, and never go to any output.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "harden.h"
#include "keys_file.h"
#include "master_key.h"
#include "seal.h"
#include "secret.h"
#include "tty.h"
#include "users.h"

static const char usage[] = "usage: voxlane-keys seal USERS_FILE --master-key SOURCE [--user NAME]\n"
			    "       voxlane-keys list USERS_FILE [--json]\n"
			    "       voxlane-keys rotate USERS_FILE --master-key SOURCE --new-master SOURCE\n"
			    "       voxlane-keys new-master FILE\n"
			    "\n"
			    "  seal        seal every plain key of the file; with --user, read one key from standard\n"
			    "              input or a prompt and seal it for that user, instead of the key there is\n"
			    "  list        users, whether their keys are sealed, and under which master key\n"
			    "  rotate      seal every sealed key again, under the new master key\n"
			    "  new-master  make a master key\n"
			    "  SOURCE      a file, credential (systemd's) or prompt\n";

struct command {
	const char *name, *file, *user;
	struct master_key master, new_master;
	bool json;
};

static int complain(const char *place, const struct vl_error *error)
{
	fprintf(stderr, "voxlane-keys: %s: %s\n", place, error->text);
	return -EINVAL;
}

/* SP 800-38D section 8.2.2: 96 random bits. */
static int seal_fresh(char text[SEAL_TEXT_SIZE], const struct master_key *master, const char *user, const char *key)
{
	uint8_t nonce[SEAL_NONCE_SIZE];

	if (getrandom(nonce, sizeof(nonce), 0) != (ssize_t)sizeof(nonce))
		return -EIO;
	return seal_key(text, master->key, nonce, user, key);
}

static const char *name_of(const cJSON *user)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(user, "name"));
}

/* Seal `key` for the user in the place of `member`. */
static int put_key(const struct command *c, cJSON *user, cJSON *member, const char *key, const struct master_key *master)
{
	char text[SEAL_TEXT_SIZE];
	int result;

	if (!users_valid_key(key)) {
		fprintf(stderr, "voxlane-keys: %s: the key of %s is not 8 to 512 printable ASCII characters without spaces\n",
			c->file, name_of(user));
		return -EINVAL;
	}
	result = seal_fresh(text, master, name_of(user), key);
	if (result == 0)
		result = keys_file_replace(user, member, text);
	if (result != 0)
		fprintf(stderr, "voxlane-keys: %s: cannot seal the key of %s: %s\n", c->file, name_of(user), strerror(-result));
	return result;
}

/* One line of standard input, or what a person types. `key` is secret memory of SEAL_KEY_MAX + 2 bytes. */
static int read_key(const char *user, char *key)
{
	char question[128];
	struct vl_error error;
	ssize_t len = 0, got;

	if (isatty(STDIN_FILENO)) {
		snprintf(question, sizeof(question), "API key of %s: ", user);
		len = tty_ask(question, key, SEAL_KEY_MAX + 1, &error);
		if (len < 0)
			return complain(user, &error);
	} else {
		/* Not by stdio, which would keep a copy. */
		while (len <= (ssize_t)SEAL_KEY_MAX && (got = read(STDIN_FILENO, key + len, 1)) == 1 && key[len] != '\n')
			len++;
	}
	key[len] = '\0';
	return 0;
}

static int seal_one(const struct command *c, struct keys_file *file)
{
	cJSON *user, *member, *found = NULL;
	struct secret_pages pages;
	char *key;
	int result;

	cJSON_ArrayForEach(user, file->users) found = strcmp(name_of(user), c->user) == 0 ? user : found;
	if (found == NULL) {
		fprintf(stderr, "voxlane-keys: %s: there is no user %s; add one with a name first\n", c->file, c->user);
		return -ENOENT;
	}
	result = secret_pages_create(&pages, SEAL_KEY_MAX + 2);
	if (result != 0) {
		fprintf(stderr, "voxlane-keys: cannot lock a page of memory: %s\n", strerror(-result));
		return result;
	}
	key = secret_pages_take(&pages, SEAL_KEY_MAX + 2);
	result = read_key(c->user, key);
	member = keys_file_text(found, "sealed_key");
	if (member == NULL)
		member = keys_file_text(found, "api_key");
	if (result == 0 && member == NULL)
		member = cJSON_AddStringToObject(found, "sealed_key", "");
	if (result == 0)
		result = member != NULL ? put_key(c, found, member, key, &c->master) : -ENOMEM;
	/* Not both. */
	if (result == 0 && (member = keys_file_text(found, "api_key")) != NULL)
		vl_json_wipe(cJSON_DetachItemViaPointer(found, member));
	secret_pages_destroy(&pages);
	if (result == 0)
		printf("sealed the key of %s\n", c->user);
	return result;
}

static int seal_all(const struct command *c, struct keys_file *file)
{
	unsigned int count = 0;
	cJSON *user, *member;

	cJSON_ArrayForEach(user, file->users)
	{
		member = keys_file_text(user, "api_key");
		if (member == NULL)
			continue;
		if (put_key(c, user, member, member->valuestring, &c->master) != 0)
			return -EINVAL;
		count++;
	}
	printf("sealed %u keys\n", count);
	return 0;
}

static int open_and_seal(const struct command *c, cJSON *user, cJSON *member, unsigned int index, char *key)
{
	char path[64], wanted[SEAL_ID_SIZE] = "";
	int result = seal_open(key, c->master.key, name_of(user), member->valuestring);

	if (result == 0)
		return put_key(c, user, member, key, &c->new_master);
	snprintf(path, sizeof(path), "users[%u].sealed_key", index);
	if (result == -ENOKEY)
		seal_text_id(member->valuestring, wanted);
	fprintf(stderr, "voxlane-keys: %s: %s: %s%s\n", c->file, path,
		result == -ENOKEY    ? "is sealed under master key "
		: result == -EBADMSG ? "does not open: it was changed, or sealed for another user"
				     : "is not a sealed key",
		wanted);
	return result;
}

static int rotate(const struct command *c, struct keys_file *file)
{
	unsigned int index = 0, count = 0, plain = 0;
	struct secret_pages pages;
	int result = secret_pages_create(&pages, SEAL_KEY_MAX + 1);
	char *key = result == 0 ? secret_pages_take(&pages, SEAL_KEY_MAX + 1) : NULL;
	cJSON *user;

	if (result != 0)
		fprintf(stderr, "voxlane-keys: cannot lock a page of memory: %s\n", strerror(-result));
	cJSON_ArrayForEach(user, file->users)
	{
		cJSON *member = keys_file_text(user, "sealed_key");

		plain += keys_file_text(user, "api_key") != NULL;
		if (result == 0 && member != NULL) {
			result = open_and_seal(c, user, member, index, key);
			count++;
		}
		index++;
	}
	secret_pages_destroy(&pages);
	if (result == 0)
		printf("sealed %u keys again%s\n", count, plain > 0 ? "; there are plain keys, which were left alone" : "");
	return result;
}

static void list(const struct command *c, const struct keys_file *file)
{
	const cJSON *user;
	const char *before = "";

	printf("%s", c->json ? "[" : "MASTER KEY        USER\n");
	cJSON_ArrayForEach(user, file->users)
	{
		const cJSON *sealed = keys_file_text(user, "sealed_key");
		char id[SEAL_ID_SIZE] = "";
		const char *form = sealed == NULL ? (keys_file_text(user, "api_key") != NULL ? "plain" : "none") : "broken";

		if (sealed != NULL && seal_valid(sealed->valuestring)) {
			seal_text_id(sealed->valuestring, id);
			form = "sealed";
		}
		if (c->json)
			printf("%s{\"user\": \"%s\", \"key\": \"%s\", \"master_key\": \"%s\"}", before, name_of(user), form, id);
		else
			printf("%-16s  %s\n", id[0] != '\0' ? id : form, name_of(user));
		before = ", ";
	}
	printf("%s", c->json ? "]\n" : "");
}

static int make_master(const struct command *c)
{
	struct secret_pages pages;
	int result = secret_pages_create(&pages, 128), fd;
	uint8_t *key = result == 0 ? secret_pages_take(&pages, SEAL_MASTER_SIZE) : NULL;
	char *text = result == 0 ? secret_pages_take(&pages, 2 * SEAL_MASTER_SIZE + 2) : NULL, id[SEAL_ID_SIZE];

	if (result == 0 && getrandom(key, SEAL_MASTER_SIZE, 0) != (ssize_t)SEAL_MASTER_SIZE)
		result = -EIO;
	fd = result == 0 ? open(c->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
	if (result == 0 && fd < 0)
		result = -errno;
	if (result == 0) {
		for (size_t i = 0; i < SEAL_MASTER_SIZE; i++)
			snprintf(text + 2 * i, 3, "%02x", key[i]);
		text[2 * SEAL_MASTER_SIZE] = '\n';
		seal_master_id(key, id);
		if (write(fd, text, 2 * SEAL_MASTER_SIZE + 1) != (ssize_t)(2 * SEAL_MASTER_SIZE + 1) || fsync(fd) != 0)
			result = -EIO;
	}
	if (fd >= 0)
		close(fd);
	secret_pages_destroy(&pages);
	if (result == 0)
		printf("%s: master key %s; keep a copy where the users files are not\n", c->file, id);
	else
		fprintf(stderr, "voxlane-keys: %s: %s\n", c->file, strerror(-result));
	return result;
}

static int load_master(const char *option, struct master_key *master)
{
	struct vl_error error;

	if (master->source == NULL) {
		fprintf(stderr, "voxlane-keys: %s is needed; --help lists the options\n", option);
		return -EINVAL;
	}
	return master_key_load(master, &error) == 0 ? 0 : complain(option, &error);
}

/* What is done with a users file. */
static int run_on_file(struct command *c)
{
	bool rotates = strcmp(c->name, "rotate") == 0, lists = strcmp(c->name, "list") == 0;
	struct keys_file file = {.directory = -1};
	struct vl_error error;
	int result = lists ? 0 : load_master("--master-key", &c->master);

	if (result == 0 && rotates)
		result = load_master("--new-master", &c->new_master);
	if (result == 0 && keys_file_open(&file, c->file, &error) != 0)
		result = complain(c->file, &error);
	if (result == 0 && lists) {
		list(c, &file);
	} else if (result == 0) {
		result = rotates ? rotate(c, &file) : c->user != NULL ? seal_one(c, &file) : seal_all(c, &file);
		if (result == 0 && keys_file_save(&file, &error) != 0)
			result = complain(c->file, &error);
		else if (result != 0)
			fprintf(stderr, "voxlane-keys: %s was not changed\n", c->file);
	}
	keys_file_close(&file);
	master_key_wipe(&c->master);
	master_key_wipe(&c->new_master);
	return result;
}

static int read_command(struct command *c, int argc, char **argv)
{
	static const struct option options[] = {{"master-key", required_argument, NULL, 'm'},
		{"new-master", required_argument, NULL, 'n'}, {"user", required_argument, NULL, 'u'},
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'm')
			c->master.source = optarg;
		else if (option == 'n')
			c->new_master.source = optarg;
		else if (option == 'u')
			c->user = optarg;
		else if (option == 'j')
			c->json = true;
		else if (option == 'h')
			return fputs(usage, stdout), 1;
		else
			return -EINVAL;
	}
	if (argc - optind == 2) {
		static const char *const commands[] = {"seal", "list", "rotate", "new-master"};

		c->name = argv[optind];
		c->file = argv[optind + 1];
		for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
			if (strcmp(c->name, commands[i]) == 0)
				return 0;
	}
	fputs(usage, stderr);
	return -EINVAL;
}

int main(int argc, char **argv)
{
	static struct command command = {.master.any_owner = true, .new_master.any_owner = true};
	struct vl_error error;
	int result = read_command(&command, argc, argv);

	if (result != 0)
		return result > 0 ? EXIT_SUCCESS : 2;
	if (harden_memory(&error) != 0)
		result = complain("start", &error);
	else
		result = strcmp(command.name, "new-master") == 0 ? make_master(&command) : run_on_file(&command);
	return result == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
