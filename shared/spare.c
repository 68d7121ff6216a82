/* SPDX-License-Identifier: Apache-2.0 */
/* A descriptor in reserve, see spare.h. */
#include "spare.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

int vl_spare_open(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

bool vl_spare_needed(int error)
{
	return error == EMFILE || error == ENFILE;
}

void vl_spare_turn_away(int *spare, int listener)
{
	if (*spare >= 0)
		close(*spare);
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0)
		close(fd);
	*spare = vl_spare_open();
}
