/* SPDX-License-Identifier: Apache-2.0 */
/* Asking a person for a secret. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "../shared/json.h"

/*
 * Ask on /dev/tty and read one line of at most `size` bytes without echo into `text`, no NUL; longer ones are cut to `size`. Waits. Main.
 * Returns the length, or -errno with the reason: no terminal, or -ECANCELED.
 */
ssize_t tty_ask(const char *question, char *text, size_t size, struct vl_error *error);
