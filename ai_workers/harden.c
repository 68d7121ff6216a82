/* SPDX-License-Identifier: Apache-2.0 */
/* Memory and identity of a worker; see harden.h. */
#include "harden.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int harden_memory(struct vl_error *error)
{
	struct rlimit none = {0, 0}, all = {RLIM_INFINITY, RLIM_INFINITY};

	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
		setrlimit(RLIMIT_CORE, &none) != 0) {
		int result = -errno;

		vl_error_set(error, "cannot protect this process's memory: %s", strerror(-result));
		return result;
	}
	/* Root may lock any amount until it stops being root; for others the limit stays what it is, and locking says so when it is too small. */
	setrlimit(RLIMIT_MEMLOCK, &all);
	return 0;
}

static int become(const char *user, struct vl_error *error)
{
	struct passwd *entry = getpwnam(user);
	uid_t real, effective, saved;

	if (entry == NULL) {
		vl_error_set(error, "there is no user %s on this machine", user);
		return -ENOENT;
	}
	if (entry->pw_uid == 0) {
		vl_error_set(error, "%s is root; --user is for giving its rights up", user);
		return -EINVAL;
	}
	/* All three of each, groups first, and then see that it is so: a set*id() that fails and is not noticed is a known hole. */
	if ((geteuid() != entry->pw_uid && initgroups(user, entry->pw_gid) != 0) ||
		setresgid(entry->pw_gid, entry->pw_gid, entry->pw_gid) != 0 ||
		setresuid(entry->pw_uid, entry->pw_uid, entry->pw_uid) != 0) {
		int result = -errno;

		vl_error_set(error, "cannot become user %s: %s", user, strerror(-result));
		return result;
	}
	if (getresuid(&real, &effective, &saved) != 0 || real != entry->pw_uid || effective != entry->pw_uid ||
		saved != entry->pw_uid || setuid(0) == 0) {
		vl_error_set(error, "did not become user %s", user);
		return -EPERM;
	}
	return 0;
}

/* Raw: glibc has no wrapper, and libcap would be a library for one call. capset(2). */
static int drop_capabilities(struct vl_error *error)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];

	memset(none, 0, sizeof(none));
	if (syscall(SYS_capset, &header, none) != 0) {
		int result = -errno;

		vl_error_set(error, "cannot give up capabilities: %s", strerror(-result));
		return result;
	}
	return 0;
}

int harden_identity(const char *user, struct vl_error *error)
{
	int result = user != NULL ? become(user, error) : 0;

	if (result == 0)
		result = drop_capabilities(error);
	/* Changing identity set it back to what fs.suid_dumpable says. */
	if (result == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
		result = -errno;
		vl_error_set(error, "cannot protect this process's memory: %s", strerror(-result));
	}
	return result;
}
