/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The link between the data plane and a worker: a SOCK_SEQPACKET UNIX socket, one JSON object per packet, file descriptors with the welcome only. What the
 * messages say is in doc/interfaces.md. All calls are non-blocking.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define VL_LINK_MESSAGE_MAX 16384u /* bytes of one message */
#define VL_LINK_FDS_MAX	    2u

/* Who is on the other side, by SO_PEERCRED. */
struct vl_link_peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
};

/*
 * Create the listening socket at `path` with `mode`; a leftover socket nobody listens on is replaced, one that is in use is -EADDRINUSE, a file
 * that is no socket is -EEXIST. Control thread. Returns the socket or -errno.
 */
int vl_link_listen(const char *path, mode_t mode);

/* Accept one connection and learn its credentials. Control thread. Returns the socket, -EAGAIN, or -errno. */
int vl_link_accept(int listener, struct vl_link_peer *peer);

/* Connect to `path`. Worker loop. Returns the socket or -errno. */
int vl_link_connect(const char *path, struct vl_link_peer *peer);

/*
 * Send one message (1..VL_LINK_MESSAGE_MAX bytes) with up to VL_LINK_FDS_MAX descriptors, which stay the caller's. Any owner of the socket. Returns 0 or
 * -errno (EAGAIN: the peer does not read; EPIPE: it is gone, no signal; EMSGSIZE).
 */
int vl_link_send(int link, const void *message, size_t len, const int *fds, size_t fd_count);

/*
 * Receive one message into `message` (VL_LINK_MESSAGE_MAX bytes, NUL added behind it, so the buffer has one more). `*fd_count` is how many descriptors
 * `fds` can take, then how many came; they are close-on-exec and the caller's. Others are closed; both may be NULL if none is wanted. Any owner of the
 * socket. Returns the length, 0 when the peer closed (or sent an empty packet), -EAGAIN, -EMSGSIZE (too long: treat the peer as broken) or -errno.
 */
ssize_t vl_link_receive(int link, char *message, int *fds, size_t *fd_count);
