/* SPDX-License-Identifier: Apache-2.0 */
/* See tty.h. */
#include "tty.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* Ctrl-C is a character here, so that the terminal is never left without its echo. */
static ssize_t read_line(int tty, char *text, size_t size)
{
	size_t len = 0;
	ssize_t got;
	char c = 0;

	while ((got = read(tty, &c, 1)) == 1 || (got < 0 && errno == EINTR)) {
		if (got < 0)
			continue;
		if (c == '\n' || c == '\r')
			return (ssize_t)len;
		if (c == 3 || c == 4)
			return -ECANCELED;
		if ((c == 8 || c == 127) && len > 0)
			len--;
		else if (c != 8 && c != 127 && len < size)
			text[len++] = c;
	}
	return got < 0 ? -errno : -ECANCELED;
}

ssize_t tty_ask(const char *question, char *text, size_t size, struct vl_error *error)
{
	struct termios before, silent;
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	ssize_t len;

	if (tty < 0 || tcgetattr(tty, &before) != 0) {
		len = -errno;
		vl_error_set(error, "there is no terminal to ask at: %s", strerror(errno));
		if (tty >= 0)
			close(tty);
		return len;
	}
	silent = before;
	silent.c_lflag &= ~(tcflag_t)(ECHO | ISIG | ICANON);
	/* Silent first: what is typed at once must neither show nor be flushed. */
	if (tcsetattr(tty, TCSAFLUSH, &silent) != 0 || write(tty, question, strlen(question)) < 0)
		len = -errno;
	else
		len = read_line(tty, text, size);
	tcsetattr(tty, TCSAFLUSH, &before);
	if (write(tty, "\n", 1) < 0 && len >= 0)
		len = -errno;
	close(tty);
	if (len < 0)
		vl_error_set(error, "nothing was given: %s", strerror((int)-len));
	return len;
}
