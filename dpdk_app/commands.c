/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands to packet lcores. The rings are short; a burst of calls or a worker's loss can be longer, so the rest waits in a
 * list per lcore.
 */
#include "commands.h"

#include <errno.h>
#include <stdlib.h>

#include <utlist.h>

#include "../shared/log.h"

struct waiting_command {
	struct waiting_command *next, *prev;
	struct lcore_command command;
};

struct commands {
	struct lcore *const *lcores;
	unsigned int count;
	uint32_t waiting;
	struct waiting_command *first[LCORES_MAX];
};

struct commands *commands_new(struct lcore *const lcores[], unsigned int count)
{
	struct commands *commands = calloc(1, sizeof(*commands));

	if (commands == NULL)
		return NULL;
	commands->lcores = lcores;
	commands->count = count;
	return commands;
}

void commands_free(struct commands *commands)
{
	if (commands == NULL)
		return;
	for (unsigned int i = 0; i < commands->count; i++) {
		while (commands->first[i] != NULL) {
			struct waiting_command *waiting = commands->first[i];

			DL_DELETE(commands->first[i], waiting);
			free(waiting);
		}
	}
	free(commands);
}

int commands_send(struct commands *commands, unsigned int index, const struct lcore_command *command)
{
	struct waiting_command *waiting;

	if (commands->first[index] == NULL && lcore_command(commands->lcores[index], command) == 0)
		return 0;
	waiting = malloc(sizeof(*waiting));
	if (waiting == NULL) {
		vl_log_error("no memory to keep a command for lcore %u", index);
		return -ENOMEM;
	}
	waiting->command = *command;
	DL_APPEND(commands->first[index], waiting);
	commands->waiting++;
	return 0;
}

bool commands_have_room(const struct commands *commands)
{
	for (unsigned int i = 0; i < commands->count; i++) {
		if (commands->first[i] != NULL || !lcore_has_room(commands->lcores[i]))
			return false;
	}
	return true;
}

void commands_run(struct commands *commands)
{
	for (unsigned int i = 0; commands->waiting > 0 && i < commands->count; i++) {
		struct waiting_command *waiting;

		while ((waiting = commands->first[i]) != NULL && lcore_command(commands->lcores[i], &waiting->command) == 0) {
			DL_DELETE(commands->first[i], waiting);
			commands->waiting--;
			free(waiting);
		}
	}
}

uint32_t commands_waiting(const struct commands *commands)
{
	return commands->waiting;
}
