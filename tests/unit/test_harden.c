/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker gave up is really gone. Each case runs in a child that hardens itself as a worker does and then tries something; under a
 * sanitizer, which traces and clones for its own ends, only what needs no filter is run.
 */
#include "ai_workers/harden.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ai_workers/shard.h"
#include "unit.h"

#define NOBODY 65534

/* Run in a child. Returns its wait status. */
static int in_child(int (*function)(void))
{
	int status;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		signal(SIGSYS, SIG_DFL);
		_exit(function());
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return status;
}

static long value_of(const char *name, int base)
{
	char line[256];
	long value = -1;
	FILE *status = fopen("/proc/self/status", "r");

	while (status != NULL && fgets(line, sizeof(line), status) != NULL)
		if (strncmp(line, name, strlen(name)) == 0)
			value = strtol(line + strlen(name), NULL, base);
	if (status != NULL)
		fclose(status);
	return value;
}

static int gives_up_rights(void)
{
	struct vl_error error;

	if (harden_memory(&error) != 0 || harden_identity(NULL, &error) != 0)
		return 1;
	return value_of("CapEff:", 16) != 0 || value_of("CapPrm:", 16) != 0 || value_of("NoNewPrivs:", 10) != 1 ||
	       prctl(PR_GET_DUMPABLE) != 0;
}

static int becomes_nobody(void)
{
	struct vl_error error;

	if (harden_memory(&error) != 0 || harden_identity("nobody", &error) != 0)
		return 1;
	if (getuid() != NOBODY || geteuid() != NOBODY || getgid() != NOBODY || prctl(PR_GET_DUMPABLE) != 0 ||
		value_of("CapEff:", 16) != 0)
		return 2;
	return setuid(0) == 0 || seteuid(0) == 0 || open("/etc/shadow", O_RDONLY) >= 0 ? 3 : 0;
}

START_TEST(test_harden_gives_up_rights)
{
	struct vl_error error;

	ck_assert_int_eq(in_child(gives_up_rights), 0);
	ck_assert_int_eq(harden_identity("no-such-user-here", &error), -ENOENT);
	ck_assert_str_eq(error.text, "there is no user no-such-user-here on this machine");
	ck_assert_int_eq(harden_identity("root", &error), -EINVAL);
	if (geteuid() == 0)
		ck_assert_int_eq(in_child(becomes_nobody), 0);
}
END_TEST

static char shards[] = "/tmp/vl-shards-XXXXXX";

static int checks_shard(void)
{
	char path[256], file[64];
	struct vl_error error;

	snprintf(file, sizeof(file), "%s/other.json", shards);
	if (harden_identity("nobody", &error) != 0)
		return 1;
	if (shard_users_path(path, sizeof(path), shards, "own", &error) != 0 || strstr(path, "/own.json") == NULL)
		return 2;
	return open(path, O_RDONLY) < 0 || open(file, O_RDONLY) >= 0 ? 3 : 0;
}

static int finds_open_shard(void)
{
	char path[256];
	struct vl_error error;

	return harden_identity("nobody", &error) != 0 || shard_users_path(path, sizeof(path), shards, "own", &error) != -EPERM ||
	       strstr(error.text, "can also read") == NULL || strstr(error.text, "other.json") == NULL;
}

static int finds_open_directory(void)
{
	char path[256];
	struct vl_error error;

	return harden_identity("nobody", &error) != 0 || shard_users_path(path, sizeof(path), shards, "own", &error) != -EPERM ||
	       strstr(error.text, "run: chmod go-w") == NULL;
}

static int finds_foreign_directory(void)
{
	char path[256];
	struct vl_error error;

	return harden_identity("nobody", &error) != 0 || shard_users_path(path, sizeof(path), shards, "own", &error) != -EPERM ||
	       strstr(error.text, "run: chown root") == NULL;
}

START_TEST(test_shard)
{
	char path[256], own[64], other[64];
	struct vl_error error;

	ck_assert_int_eq(shard_users_path(path, sizeof(path), "/tmp", "../etc", &error), -EINVAL);
	if (geteuid() != 0)
		return;
	ck_assert_int_eq(shard_users_path(path, sizeof(path), "/tmp", "own", &error), -EPERM);
	ck_assert_ptr_nonnull(strstr(error.text, "root can read every shard"));
	ck_assert_ptr_nonnull(mkdtemp(shards));
	ck_assert_int_eq(chmod(shards, 0755), 0);
	snprintf(own, sizeof(own), "%s/own.json", shards);
	snprintf(other, sizeof(other), "%s/other.json", shards);
	close(open(own, O_CREAT | O_WRONLY, 0600));
	close(open(other, O_CREAT | O_WRONLY, 0600));
	ck_assert_int_eq(chown(own, NOBODY, NOBODY), 0);
	int good = in_child(checks_shard);
	ck_assert_int_eq(chmod(shards, 0775), 0);
	int group_writes = in_child(finds_open_directory);
	ck_assert_int_eq(chmod(shards, 0757), 0);
	int all_write = in_child(finds_open_directory);
	ck_assert_int_eq(chmod(shards, 0755), 0);
	ck_assert_int_eq(chown(shards, 1, 0), 0);
	int foreign = in_child(finds_foreign_directory);
	ck_assert_int_eq(chown(shards, 0, 0), 0);
	ck_assert_int_eq(chmod(other, 0644), 0);
	int open_mode = in_child(finds_open_shard);
	ck_assert_int_eq(chmod(other, 0600), 0);
	ck_assert_int_eq(chown(other, NOBODY, NOBODY), 0);
	int same_owner = in_child(finds_open_shard);
	unlink(own);
	unlink(other);
	rmdir(shards);
	ck_assert_int_eq(good, 0);
	ck_assert_int_eq(group_writes, 0);
	ck_assert_int_eq(all_write, 0);
	ck_assert_int_eq(foreign, 0);
	ck_assert_int_eq(open_mode, 0);
	ck_assert_int_eq(same_owner, 0);
}
END_TEST

#if !defined(__SANITIZE_ADDRESS__)
static int restricted(void)
{
	struct vl_error error;

	return harden_memory(&error) != 0 || harden_identity(NULL, &error) != 0 || harden_calls(&error) != 0;
}

/* Each must end the process by SIGSYS; a return says that it did not. */
static void try_execve(void)
{
	execl("/bin/true", "true", (char *)NULL);
}

static void try_fork(void)
{
	if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0)
		_exit(0);
}

static void try_vfork(void)
{
	syscall(SYS_fork);
}

static void try_ptrace(void)
{
	ptrace(PTRACE_ATTACH, getppid(), 0, 0);
}

static void try_read_memory(void)
{
	char byte;
	struct iovec ours = {&byte, 1}, theirs = {&byte, 1};

	process_vm_readv(getppid(), &ours, 1, &theirs, 1, 0);
}

static void try_write_file(void)
{
	open("/tmp/vl-harden-written", O_WRONLY | O_CREAT, 0600);
}

static void try_change_file(void)
{
	open("/dev/null", O_RDWR);
}

static void try_append(void)
{
	openat(AT_FDCWD, "/dev/null", O_RDONLY | O_TRUNC);
}

static void try_unlink(void)
{
	unlink("/tmp/vl-harden-none");
}

static void try_rename(void)
{
	rename("/tmp/vl-harden-none", "/tmp/vl-harden-none2");
}

static void try_packet_socket(void)
{
	socket(AF_PACKET, SOCK_RAW, 0);
}

static void try_netfilter(void)
{
	socket(AF_NETLINK, SOCK_RAW, 12);
}

static void try_listen(void)
{
	listen(socket(AF_INET, SOCK_STREAM, 0), 1);
}

static void try_kill(void)
{
	kill(getppid(), 0);
}

static void try_tgkill(void)
{
	syscall(SYS_tgkill, getppid(), getppid(), 0);
}

static void try_setuid(void)
{
	setuid(0);
}

static void try_dumpable(void)
{
	prctl(PR_SET_DUMPABLE, 1);
}

static void try_limit(void)
{
	struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};

	setrlimit(RLIMIT_CORE, &all);
}

static void try_bpf(void)
{
	syscall(SYS_bpf, 0, NULL, 0);
}

static void try_terminal(void)
{
	char byte = 'x';

	ioctl(0, TIOCSTI, &byte);
}

static const struct {
	const char *name;
	void (*call)(void);
} forbidden[] = {
	{"execve", try_execve},
	{"clone of a process", try_fork},
	{"fork", try_vfork},
	{"ptrace", try_ptrace},
	{"process_vm_readv", try_read_memory},
	{"open to create", try_write_file},
	{"open to write", try_change_file},
	{"open to truncate", try_append},
	{"unlink", try_unlink},
	{"rename", try_rename},
	{"packet socket", try_packet_socket},
	{"netfilter socket", try_netfilter},
	{"listen", try_listen},
	{"kill", try_kill},
	{"tgkill of another process", try_tgkill},
	{"setuid", try_setuid},
	{"PR_SET_DUMPABLE", try_dumpable},
	{"setrlimit", try_limit},
	{"bpf", try_bpf},
	{"TIOCSTI", try_terminal},
};
static size_t chosen;

static int try_chosen(void)
{
	if (restricted() != 0)
		return 1;
	forbidden[chosen].call();
	return 2;
}

START_TEST(test_harden_ends_forbidden_call)
{
	chosen = (size_t)_i;
	int status = in_child(try_chosen);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%s: status %#x", forbidden[_i].name, status);
}
END_TEST

/* Memory that can be written never becomes code, and asking for it is no crime. */
static int maps_no_code(void)
{
	if (restricted() != 0)
		return 1;
	errno = 0;
	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED ||
		errno != EPERM)
		return 2;
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return page == MAP_FAILED || mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0 || errno != EPERM ? 3 : 0;
}

static void *resolve(void *result)
{
	struct addrinfo *list = NULL, hints = {.ai_socktype = SOCK_STREAM};

	*(int *)result = getaddrinfo("localhost", "443", &hints, &list);
	if (*(int *)result == 0)
		freeaddrinfo(list);
	else if (*(int *)result != EAI_SYSTEM)
		*(int *)result = 0; /* a system without /etc/hosts: the calls were made all the same */
	/* A name that no file has: the resolver's own sockets. */
	if (getaddrinfo("name.invalid", NULL, &hints, &list) == 0)
		freeaddrinfo(list);
	return NULL;
}

/* The things that a worker's libraries do: threads, names, allocation, files for reading, sockets. */
static int goes_on(void)
{
	pthread_t thread;
	int result = -1, fd, pair[2];
	void *memory;

	if (restricted() != 0)
		return 1;
	if (pthread_create(&thread, NULL, resolve, &result) != 0 || pthread_join(thread, NULL) != 0 || result != 0)
		return 2;
	memory = malloc(8u << 20);
	memory = realloc(memory, 32u << 20);
	if (memory == NULL)
		return 3;
	free(memory);
	fd = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return 4;
	if (fd >= 0)
		close(fd);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		return 5;
	fprintf(stderr, "%s", "");
	return 0;
}

static int aborts(void)
{
	if (restricted() != 0)
		return 1;
	abort();
}

START_TEST(test_harden_lets_the_rest_work)
{
	ck_assert_int_eq(in_child(maps_no_code), 0);
	int status = in_child(goes_on);
	ck_assert_msg(status == 0, "status %#x", status);
	status = in_child(aborts);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
END_TEST
#endif

int main(void)
{
	Suite *suite = suite_create("harden");
	unit_add(suite, "rights", test_harden_gives_up_rights);
	unit_add(suite, "shard", test_shard);
#if !defined(__SANITIZE_ADDRESS__)
	TCase *tc = tcase_create("calls");
	tcase_add_loop_test(tc, test_harden_ends_forbidden_call, 0, sizeof(forbidden) / sizeof(forbidden[0]));
	tcase_add_test(tc, test_harden_lets_the_rest_work);
	suite_add_tcase(suite, tc);
#endif
	return unit_run(suite);
}
