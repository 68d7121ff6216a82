/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared/link: the socket file's life, who the peer is, message boundaries, descriptors, and that no descriptor is ever lost or left open.
 */
#include "shared/link.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

static char directory[] = "/tmp/vl-link-XXXXXX";
static char path[64];
static char message[VL_LINK_MESSAGE_MAX + 1];
static int ends[2]; /* a connected pair */

static void setup(void)
{
	memcpy(directory + sizeof(directory) - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/workers.sock", directory);
}

static void teardown(void)
{
	unlink(path);
	rmdir(directory);
}

static void setup_pair(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
}

static void teardown_pair(void)
{
	close(ends[0]);
	close(ends[1]);
}

static unsigned int open_descriptors(void)
{
	DIR *list = opendir("/proc/self/fd");
	unsigned int count = 0;

	ck_assert_ptr_nonnull(list);
	while (readdir(list) != NULL)
		count++;
	closedir(list);
	return count;
}

/* One packet with any number of descriptors, past vl_link_send()'s own limits. */
static void send_raw(int link, size_t len, unsigned int fd_count)
{
	static char bytes[2 * VL_LINK_MESSAGE_MAX];
	union {
		char buffer[CMSG_SPACE(64 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec part = {.iov_base = bytes, .iov_len = len};
	struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1};

	memset(bytes, 'x', sizeof(bytes));
	if (fd_count > 0) {
		packet.msg_control = control.buffer;
		packet.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		struct cmsghdr *rights = CMSG_FIRSTHDR(&packet);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		for (unsigned int i = 0; i < fd_count; i++)
			memcpy(CMSG_DATA(rights) + i * sizeof(int), &(int){STDERR_FILENO}, sizeof(int));
	}
	ck_assert_int_eq(sendmsg(link, &packet, MSG_NOSIGNAL), (ssize_t)len);
}

START_TEST(test_link_listen_modes)
{
	static const mode_t modes[] = {0600, 0660, 0666}, masks[] = {0, 022, 0777};

	for (size_t i = 0; i < 3; i++)
		for (size_t j = 0; j < 3; j++) {
			struct stat file;
			mode_t before = umask(masks[j]);
			int listener = vl_link_listen(path, modes[i]);
			umask(before);
			ck_assert_int_ge(listener, 0);
			ck_assert_int_eq(stat(path, &file), 0);
			ck_assert_uint_eq(file.st_mode & 0777, modes[i]);
			ck_assert(S_ISSOCK(file.st_mode));
			ck_assert_int_eq(fcntl(listener, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
			close(listener);
		}
}
END_TEST

START_TEST(test_link_listen_replaces_leftover_only)
{
	int listener = vl_link_listen(path, 0600);

	ck_assert_int_ge(listener, 0);
	ck_assert_int_eq(vl_link_listen(path, 0600), -EADDRINUSE);
	close(listener); /* the file stays: a leftover */
	listener = vl_link_listen(path, 0600);
	ck_assert_int_ge(listener, 0);
	close(listener);
	unlink(path);

	/* A file that is no socket is not ours to remove; nor is a symbolic link to a leftover. */
	close(open(path, O_CREAT | O_WRONLY, 0600));
	ck_assert_int_eq(vl_link_listen(path, 0600), -EEXIST);
	ck_assert_int_eq(access(path, F_OK), 0);
	unlink(path);
	ck_assert_int_eq(symlink("/dev/null", path), 0);
	ck_assert_int_eq(vl_link_listen(path, 0600), -EEXIST);
}
END_TEST

START_TEST(test_link_listen_leaves_other_types)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int stream = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(address.sun_path, path, strlen(path));
	ck_assert_int_eq(bind(stream, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(stream, 1), 0);
	ck_assert_int_eq(vl_link_listen(path, 0600), -EADDRINUSE);
	ck_assert_int_eq(access(path, F_OK), 0);
	close(stream);
}
END_TEST

START_TEST(test_link_bad_paths)
{
	char longest[200];
	struct vl_link_peer peer;
	unsigned int before = open_descriptors();

	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	ck_assert_int_eq(vl_link_listen(longest, 0600), -ENAMETOOLONG);
	ck_assert_int_eq(vl_link_connect(longest, &peer), -ENAMETOOLONG);
	ck_assert_int_eq(vl_link_listen("", 0600), -EINVAL);
	ck_assert_int_eq(vl_link_listen("/nonexistent/x.sock", 0600), -ENOENT);
	ck_assert_int_eq(vl_link_connect(path, &peer), -ENOENT);
	int listener = vl_link_listen(path, 0600);
	ck_assert_int_eq(vl_link_accept(listener, &peer), -EAGAIN);
	close(listener);
	ck_assert_int_eq(vl_link_connect(path, &peer), -ECONNREFUSED);
	ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

/* The worker's side in another process, under another user where we may. */
static int child_worker(uid_t uid)
{
	struct vl_link_peer peer;

	alarm(20);
	if (uid != 0 && (setgid(uid) != 0 || setuid(uid) != 0))
		return 1;
	int link = vl_link_connect(path, &peer);
	if (link < 0)
		return 2;
	if (peer.pid != getppid())
		return 3;
	if (vl_link_send(link, "hello", 5, NULL, 0) != 0)
		return 4;
	int fds[2];
	size_t fd_count = 2;
	ssize_t len;
	while ((len = vl_link_receive(link, message, fds, &fd_count)) == -EAGAIN) {
		fd_count = 2;
		usleep(1000);
	}
	if (len != 7 || strcmp(message, "welcome") != 0 || fd_count != 2)
		return 5;
	if (write(fds[1], "by descriptor", 13) != 13)
		return 6;
	return 0;
}

START_TEST(test_link_two_processes)
{
	uid_t uid = getuid() == 0 ? 65534 : 0;
	struct vl_link_peer peer;
	int link, pipe_ends[2], status;
	char text[32] = "";

	ck_assert_int_eq(pipe(pipe_ends), 0);
	ck_assert_int_eq(chmod(directory, 0755), 0);
	int listener = vl_link_listen(path, 0666);
	ck_assert_int_ge(listener, 0);
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0)
		_exit(child_worker(uid));
	for (int i = 0; (link = vl_link_accept(listener, &peer)) == -EAGAIN && i < 10000; i++)
		usleep(1000);
	ck_assert_int_ge(link, 0);
	ck_assert_int_eq(peer.pid, child);
	ck_assert_uint_eq(peer.uid, uid == 0 ? getuid() : uid);
	ck_assert_uint_eq(peer.gid, uid == 0 ? getgid() : uid);

	ssize_t len;
	while ((len = vl_link_receive(link, message, NULL, NULL)) == -EAGAIN)
		usleep(1000);
	ck_assert_int_eq(len, 5);
	ck_assert_str_eq(message, "hello");
	ck_assert_int_eq(vl_link_send(link, "welcome", 7, (int[]){pipe_ends[0], pipe_ends[1]}, 2), 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	ck_assert_int_eq(read(pipe_ends[0], text, sizeof(text)), 13);
	ck_assert_str_eq(text, "by descriptor");
	/* It has gone, and that must not kill us. */
	signal(SIGPIPE, SIG_DFL);
	ck_assert_int_eq(vl_link_receive(link, message, NULL, NULL), 0);
	ck_assert_int_eq(vl_link_send(link, "x", 1, NULL, 0), -EPIPE);
	close(link);
	close(listener);
	close(pipe_ends[0]);
	close(pipe_ends[1]);
}
END_TEST

START_TEST(test_link_keeps_boundaries)
{
	static char big[VL_LINK_MESSAGE_MAX + 1];

	memset(big, 'b', sizeof(big));
	ck_assert_int_eq(vl_link_receive(ends[1], message, NULL, NULL), -EAGAIN);
	ck_assert_int_eq(vl_link_send(ends[0], "one", 3, NULL, 0), 0);
	ck_assert_int_eq(vl_link_send(ends[0], big, VL_LINK_MESSAGE_MAX, NULL, 0), 0);
	ck_assert_int_eq(vl_link_send(ends[0], "two", 3, NULL, 0), 0);
	ck_assert_int_eq(vl_link_send(ends[0], big, VL_LINK_MESSAGE_MAX + 1, NULL, 0), -EMSGSIZE);
	ck_assert_int_eq(vl_link_send(ends[0], big, 0, NULL, 0), -EMSGSIZE);
	ck_assert_int_eq(vl_link_receive(ends[1], message, NULL, NULL), 3);
	ck_assert_str_eq(message, "one");
	ck_assert_int_eq(vl_link_receive(ends[1], message, NULL, NULL), (ssize_t)VL_LINK_MESSAGE_MAX);
	ck_assert_uint_eq(strlen(message), VL_LINK_MESSAGE_MAX);
	ck_assert_int_eq(vl_link_receive(ends[1], message, NULL, NULL), 3);
	ck_assert_str_eq(message, "two");
	ck_assert_int_eq(vl_link_receive(ends[1], message, NULL, NULL), -EAGAIN);
}
END_TEST

START_TEST(test_link_slow_peer)
{
	int result = 0, sent = 0;

	while (sent < 100000 && (result = vl_link_send(ends[0], message, 1000, NULL, 0)) == 0)
		sent++;
	ck_assert_int_eq(result, -EAGAIN);
	ck_assert_int_gt(sent, 10);
}
END_TEST

START_TEST(test_link_closed_with_unread_data)
{
	ck_assert_int_eq(vl_link_send(ends[0], "unread", 6, NULL, 0), 0);
	close(ends[1]);
	ck_assert_int_eq(vl_link_receive(ends[0], message, NULL, NULL), 0);
	ends[1] = dup(ends[0]);
}
END_TEST

START_TEST(test_link_descriptors)
{
	static const struct {
		size_t len;	       /* bytes of the packet */
		unsigned int fd_count; /* sent with it */
		size_t wanted;
		ssize_t result;
		size_t taken;
	} cases[] = {
		{3, 0, 2, 3, 0},
		{3, 1, 2, 3, 1},
		{3, 2, 2, 3, 2},
		{3, 2, 1, 3, 1},
		{3, 1, 0, 3, 0},
		{3, 3, 2, 3, 2},
		{3, 50, 2, 3, 2},
		{3, 50, 0, 3, 0},
		{VL_LINK_MESSAGE_MAX + 1, 2, 2, -EMSGSIZE, 0},
		{VL_LINK_MESSAGE_MAX + 1, 0, 2, -EMSGSIZE, 0},
	};
	unsigned int before = open_descriptors();

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fds[2] = {-1, -1};
		size_t fd_count = cases[i].wanted;

		send_raw(ends[0], cases[i].len, cases[i].fd_count);
		ck_assert_int_eq(vl_link_receive(ends[1], message, fds, &fd_count), cases[i].result);
		ck_assert_uint_eq(fd_count, cases[i].taken);
		ck_assert_uint_eq(open_descriptors(), before + cases[i].taken);
		for (size_t j = 0; j < fd_count; j++) {
			ck_assert_int_eq(fcntl(fds[j], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
			close(fds[j]);
		}
		/* And without asking at all. */
		send_raw(ends[0], cases[i].len, cases[i].fd_count);
		ck_assert_int_eq(vl_link_receive(ends[1], message, NULL, NULL), cases[i].result);
		ck_assert_uint_eq(open_descriptors(), before);
	}
}
END_TEST

START_TEST(test_link_empty_packet_with_descriptors)
{
	unsigned int before = open_descriptors();
	int fds[2];
	size_t fd_count = 2;

	send_raw(ends[0], 0, 2);
	ck_assert_int_eq(vl_link_receive(ends[1], message, fds, &fd_count), 0);
	ck_assert_uint_eq(fd_count, 0);
	ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

START_TEST(test_link_too_many_to_send)
{
	ck_assert_int_eq(vl_link_send(ends[0], "x", 1, (int[]){0, 1, 2}, 3), -EINVAL);
	ck_assert_int_eq(vl_link_send(ends[0], "x", 1, (int[]){-1}, 1), -EBADF);
	ck_assert_int_eq(vl_link_receive(ends[1], message, NULL, NULL), -EAGAIN);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("link");

	unit_add_fixture(suite, "socket", setup, teardown, test_link_listen_modes, test_link_listen_replaces_leftover_only,
		test_link_listen_leaves_other_types, test_link_bad_paths, test_link_two_processes);
	unit_add_fixture(suite, "message", setup_pair, teardown_pair, test_link_keeps_boundaries, test_link_slow_peer,
		test_link_closed_with_unread_data);
	unit_add_fixture(suite, "descriptors", setup_pair, teardown_pair, test_link_descriptors,
		test_link_empty_packet_with_descriptors, test_link_too_many_to_send);
	return unit_run(suite);
}
