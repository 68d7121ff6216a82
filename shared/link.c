/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SOCK_SEQPACKET link, see link.h. The kernel keeps message boundaries, tells us who the peer is (SO_PEERCRED, taken when it connected) and
 * carries descriptors (SCM_RIGHTS). Whatever descriptors a peer attaches, asked for or not, are in our table after recvmsg(), so every path closes what it
 * does not hand on.
 */
#include "link.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 128

static int set_address(struct sockaddr_un *address, const char *path)
{
	size_t len = strlen(path);

	if (len == 0)
		return -EINVAL;
	if (len >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(address->sun_path, path, len);
	return 0;
}

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

static int get_peer(int link, struct vl_link_peer *peer)
{
	struct ucred credentials;
	socklen_t size = sizeof(credentials);

	if (getsockopt(link, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
		return -errno;
	*peer = (struct vl_link_peer){.pid = credentials.pid, .uid = credentials.uid, .gid = credentials.gid};
	return 0;
}

/* Remove a socket file that nobody listens on. */
static int remove_leftover(const char *path, const struct sockaddr_un *address)
{
	struct stat file;

	if (lstat(path, &file) != 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(file.st_mode))
		return -EEXIST;
	int probe = new_socket();

	if (probe < 0)
		return probe;
	int error = connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 ? 0 : errno;

	close(probe);
	/* Anything but a refusal means somebody is there: a full backlog, a socket of another type, no permission. */
	if (error != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(path) == 0 || errno == ENOENT ? 0 : -errno;
}

int vl_link_listen(const char *path, mode_t mode)
{
	struct sockaddr_un address;
	int error = set_address(&address, path);

	if (error == 0)
		error = remove_leftover(path, &address);
	if (error != 0)
		return error;
	int fd = new_socket();

	if (fd < 0)
		return fd;
	/* On Linux the file takes the socket's own mode less the umask, so it is never open to more than `mode`, not even for a moment. */
	if (fchmod(fd, mode) != 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		error = -errno;
		goto fail;
	}
	if (chmod(path, mode) != 0 || listen(fd, BACKLOG) != 0) {
		error = -errno;
		unlink(path);
		goto fail;
	}
	return fd;
fail:
	close(fd);
	return error;
}

int vl_link_accept(int listener, struct vl_link_peer *peer)
{
	int fd;

	do {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	} while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (fd < 0)
		return -errno;
	int error = get_peer(fd, peer);

	if (error != 0) {
		close(fd);
		return error;
	}
	return fd;
}

int vl_link_connect(const char *path, struct vl_link_peer *peer)
{
	struct sockaddr_un address;
	int error = set_address(&address, path);

	if (error != 0)
		return error;
	int fd = new_socket();

	if (fd < 0)
		return fd;
	error = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 ? get_peer(fd, peer) : -errno;
	if (error != 0) {
		close(fd);
		return error;
	}
	return fd;
}

int vl_link_send(int link, const void *message, size_t len, const int *fds, size_t fd_count)
{
	union {
		char buffer[CMSG_SPACE(VL_LINK_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = len};
	struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1};

	if (len == 0 || len > VL_LINK_MESSAGE_MAX) /* an empty packet would read as the end */
		return -EMSGSIZE;
	if (fd_count > VL_LINK_FDS_MAX)
		return -EINVAL;
	if (fd_count > 0) {
		packet.msg_control = control.buffer;
		packet.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		struct cmsghdr *rights = CMSG_FIRSTHDR(&packet);

		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(rights), fds, fd_count * sizeof(int));
	}
	ssize_t sent;

	do {
		sent = sendmsg(link, &packet, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

/* Move up to `wanted` received descriptors to `fds`, close the rest. Returns how many were moved. */
static size_t take_descriptors(struct msghdr *packet, int *fds, size_t wanted)
{
	size_t taken = 0;

	for (struct cmsghdr *part = CMSG_FIRSTHDR(packet); part != NULL; part = CMSG_NXTHDR(packet, part)) {
		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(fd));
			if (taken < wanted)
				fds[taken++] = fd;
			else
				close(fd);
		}
	}
	return taken;
}

ssize_t vl_link_receive(int link, char *message, int *fds, size_t *fd_count)
{
	/* The kernel itself drops descriptors that do not fit here (MSG_CTRUNC), which is what we want with those nobody asked for. */
	union {
		char buffer[CMSG_SPACE(VL_LINK_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec part = {.iov_base = message, .iov_len = VL_LINK_MESSAGE_MAX};
	struct msghdr packet = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.buffer, .msg_controllen = sizeof(control.buffer)};
	size_t wanted = fd_count != NULL ? *fd_count : 0;
	ssize_t len;

	message[0] = '\0';
	if (fd_count != NULL)
		*fd_count = 0;
	do {
		len = recvmsg(link, &packet, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (len < 0 && errno == EINTR);
	if (len < 0)
		return errno == ECONNRESET ? 0 : -errno; /* closed with something of ours unread */

	bool whole = len > 0 && (packet.msg_flags & MSG_TRUNC) == 0;
	size_t taken = take_descriptors(&packet, fds, whole ? wanted : 0);

	if (!whole)
		return len == 0 ? 0 : -EMSGSIZE;
	if (fd_count != NULL)
		*fd_count = taken;
	message[len] = '\0';
	return len;
}
