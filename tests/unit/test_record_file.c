/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of call records, its journal and its writer: short writes, full disks, signals, kills, rotation. write() is the test's.
 */
#include "dpdk_app/record_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/clock.h"
#include "unit.h"

/* What the next writes to the file of records do: bytes taken, or -errno. 0 ends the list: all is taken. */
static _Atomic int script[32];
static _Atomic unsigned int step;
static char directory[64], path[96], journal_path[96];
static bool in_child;

/* An assertion that also a forked child may make: check keeps its messages in a file which both share, and a child is killed in the middle of one. */
static void need(bool holds, const char *what)
{
	if (in_child && !holds)
		_exit(1);
	if (!in_child)
		ck_assert_msg(holds, "%s", what);
}

ssize_t __real_write(int fd, const void *bytes, size_t len);
ssize_t __wrap_write(int fd, const void *bytes, size_t len);
ssize_t __wrap_write(int fd, const void *bytes, size_t len)
{
	char name[64], target[128];
	ssize_t n;
	int what;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	n = readlink(name, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	what = strncmp(target, path, strlen(path)) == 0 ? script[step] : 0;
	if (what == 0)
		return __real_write(fd, bytes, len);
	step++;
	if (what < 0) {
		errno = -what;
		return -1;
	}
	return __real_write(fd, bytes, len < (size_t)what ? len : (size_t)what);
}

static void play(const int *what, size_t count)
{
	step = 0;
	for (size_t i = 0; i < sizeof(script) / sizeof(script[0]); i++)
		script[i] = i < count ? what[i] : 0;
}
#define PLAY(...)                                              \
	do {                                                   \
		static const int what_[] = {__VA_ARGS__};      \
		play(what_, sizeof(what_) / sizeof(what_[0])); \
	} while (0)

static void setup(void)
{
	strcpy(directory, "/tmp/voxlane-records-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/calls.jsonl", directory);
	snprintf(journal_path, sizeof(journal_path), "%s/journal", directory);
	PLAY(0);
}

static int remove_entry(const char *name, const struct stat *status, int type, struct FTW *ftw)
{
	(void)status;
	(void)type;
	(void)ftw;
	return remove(name);
}

static void teardown(void)
{
	nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static struct record_file *open_file(uint64_t max_bytes)
{
	struct record_file_settings settings = {.path = path, .mode = 0640, .max_bytes = max_bytes};
	struct vl_error error;
	struct record_file *file = record_file_open(&settings, &error);

	ck_assert_msg(file != NULL, "%s", error.text);
	return file;
}

static int put(struct record_file *file, const char *line)
{
	return record_file_write(file, line, strlen(line), 1763823600123);
}

static const char *content(const char *name)
{
	static char text[1 << 16];
	FILE *stream = fopen(name, "r");

	ck_assert_msg(stream != NULL, "%s: %s", name, strerror(errno));
	text[fread(text, 1, sizeof(text) - 1, stream)] = '\0';
	fclose(stream);
	return text;
}

static void write_content(const char *text)
{
	FILE *stream = fopen(path, "w");

	ck_assert_ptr_nonnull(stream);
	fputs(text, stream);
	fclose(stream);
}

START_TEST(test_file_is_made_with_its_mode)
{
	mode_t before = umask(077);
	struct record_file *file = open_file(0);
	struct stat status;

	umask(before);
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 0640);
	ck_assert_int_eq(put(file, "one\n"), 0);
	ck_assert_int_eq(put(file, "two\n"), 0);
	ck_assert_int_eq(record_file_sync(file), 0);
	ck_assert_str_eq(content(path), "one\ntwo\n");
	record_file_close(file);
	file = open_file(0);
	ck_assert_int_eq(put(file, "three\n"), 0);
	ck_assert_str_eq(content(path), "one\ntwo\nthree\n");
	record_file_close(file);
}
END_TEST

START_TEST(test_file_refuses_what_is_none)
{
	struct record_file_settings settings = {.path = directory, .mode = 0640};
	struct vl_error error;
	char link_path[128];

	ck_assert_ptr_null(record_file_open(&settings, &error));
	settings.path = "/nonexistent/calls.jsonl";
	ck_assert_ptr_null(record_file_open(&settings, &error));
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_str_eq(error.text, "cannot open /nonexistent/calls.jsonl: No such file or directory");
	snprintf(link_path, sizeof(link_path), "%s/link", directory);
	ck_assert_int_eq(symlink(path, link_path), 0);
	settings.path = link_path;
	ck_assert_ptr_null(record_file_open(&settings, &error));
	record_file_close(NULL);
}
END_TEST

/* A line cut by a full disk or a signal is completed before the next one begins, and is there once. */
START_TEST(test_file_completes_a_line)
{
	struct record_file *file = open_file(0);

	PLAY(-EINTR, 2, -EINTR, 3);
	ck_assert_int_eq(put(file, "0123456789\n"), 0);
	ck_assert_str_eq(content(path), "0123456789\n");
	PLAY(4, -ENOSPC, -ENOSPC, 2, -ENOSPC);
	ck_assert_int_eq(put(file, "abcdefghij\n"), -ENOSPC);
	ck_assert_int_eq(put(file, "abcdefghij\n"), -ENOSPC);
	ck_assert_str_eq(content(path), "0123456789\nabcd");
	ck_assert_int_eq(put(file, "abcdefghij\n"), -ENOSPC);
	ck_assert_int_eq(put(file, "abcdefghij\n"), 0);
	ck_assert_str_eq(content(path), "0123456789\nabcdefghij\n");
	ck_assert_uint_eq(record_file_torn(file), 0);
	record_file_close(file);
}
END_TEST

START_TEST(test_file_closes_off_a_piece_of_another_line)
{
	struct record_file *file = open_file(0);

	PLAY(4, -ENOSPC, -ENOSPC);
	ck_assert_int_eq(put(file, "abcdefghij\n"), -ENOSPC);
	ck_assert_int_eq(put(file, "other\n"), -ENOSPC);
	ck_assert_int_eq(put(file, "other\n"), 0);
	ck_assert_str_eq(content(path), "abcd\nother\n");
	ck_assert_uint_eq(record_file_torn(file), 1);
	record_file_close(file);
}
END_TEST

START_TEST(test_file_finds_what_a_killed_process_wrote)
{
	static const char line[] = "{\"record\":\"call\",\"session\":\"b\"}\n";
	struct record_file *file;

	write_content("{\"record\":\"call\",\"session\":\"a\"}\n{\"record\":\"call\",\"session\":\"b\"}\n");
	file = open_file(0);
	ck_assert(record_file_has(file, line, strlen(line)));
	ck_assert(!record_file_began(file, line, strlen(line)));
	ck_assert(!record_file_has(file, "{\"record\":\"call\",\"session\":\"a\"}\n", strlen(line)));
	record_file_close(file);

	write_content("{\"record\":\"call\",\"session\":\"a\"}\n{\"record\":\"ca");
	file = open_file(0);
	ck_assert(!record_file_has(file, line, strlen(line)));
	ck_assert(record_file_began(file, line, strlen(line)));
	ck_assert_int_eq(put(file, line), 0);
	ck_assert_int_eq(put(file, "next\n"), 0);
	ck_assert_str_eq(
		content(path), "{\"record\":\"call\",\"session\":\"a\"}\n{\"record\":\"call\",\"session\":\"b\"}\nnext\n");
	record_file_close(file);

	write_content("whole\nhalf of no");
	file = open_file(0);
	ck_assert(!record_file_began(file, line, strlen(line)));
	ck_assert_int_eq(put(file, line), 0);
	ck_assert_str_eq(content(path), "whole\nhalf of no\n{\"record\":\"call\",\"session\":\"b\"}\n");
	ck_assert_uint_eq(record_file_torn(file), 1);
	record_file_close(file);
}
END_TEST

START_TEST(test_file_follows_a_rotation)
{
	struct record_file *file = open_file(0);
	char away[128];

	snprintf(away, sizeof(away), "%s.1", path);
	ck_assert_int_eq(put(file, "one\n"), 0);
	ck_assert_int_eq(rename(path, away), 0);
	ck_assert_int_eq(put(file, "two\n"), 0);
	ck_assert_str_eq(content(away), "one\n");
	ck_assert_str_eq(content(path), "two\n");
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(put(file, "three\n"), 0);
	ck_assert_str_eq(content(path), "three\n");
	ck_assert_uint_eq(record_file_rotations(file), 2);
	/* A line that has begun is finished where it began. */
	PLAY(3, -ENOSPC);
	ck_assert_int_eq(put(file, "four\n"), -ENOSPC);
	ck_assert_int_eq(rename(path, away), 0);
	ck_assert_int_eq(put(file, "four\n"), 0);
	ck_assert_int_eq(put(file, "five\n"), 0);
	ck_assert_str_eq(content(away), "three\nfour\n");
	ck_assert_str_eq(content(path), "five\n");
	record_file_close(file);
}
END_TEST

START_TEST(test_file_rotates_by_size)
{
	struct record_file *file = open_file(10);
	char away[160];

	ck_assert_int_eq(put(file, "1234567\n"), 0);
	ck_assert_int_eq(put(file, "abcdefghijklmnop\n"), 0);
	ck_assert_int_eq(put(file, "x\n"), 0);
	snprintf(away, sizeof(away), "%s-20251122T150000.123Z", path);
	ck_assert_str_eq(content(away), "1234567\n");
	snprintf(away, sizeof(away), "%s-20251122T150000.124Z", path);
	ck_assert_str_eq(content(away), "abcdefghijklmnop\n");
	ck_assert_str_eq(content(path), "x\n");
	record_file_close(file);
}
END_TEST

static const char *uuid_of(unsigned int number)
{
	static char uuid[4][CALL_UUID_SIZE];
	static unsigned int next;
	char *to = uuid[next++ % 4];

	snprintf(to, CALL_UUID_SIZE, "89ea2cc7-3216-4d63-be06-%012x", number);
	return to;
}

static struct record_journal *open_journal(void)
{
	struct vl_error error;
	struct record_journal *journal = record_journal_open(journal_path, &error);

	need(journal != NULL, error.text);
	return journal;
}

static unsigned int count_journal(struct record_journal *journal, bool done)
{
	struct record_journal_walk *walk = NULL;
	char uuid[CALL_UUID_SIZE];
	unsigned int count = 0;

	while (record_journal_next(journal, &walk, done, uuid))
		count++;
	return count;
}

START_TEST(test_journal_of_a_call)
{
	struct record_journal *journal = open_journal();
	struct vl_error error;
	char *text;
	size_t len;

	ck_assert_ptr_null(record_journal_open(journal_path, &error));
	ck_assert_int_eq(errno, EWOULDBLOCK);
	ck_assert_int_eq(record_journal_append(journal, uuid_of(1), "a\nb\n", 4), 0);
	ck_assert_int_eq(record_journal_append(journal, uuid_of(1), "c\nhalf", 6), 0);
	ck_assert_int_eq(record_journal_append(journal, uuid_of(2), "x\n", 2), 0);
	ck_assert_uint_eq(count_journal(journal, false), 2);
	ck_assert_uint_eq(count_journal(journal, true), 0);
	text = record_journal_read(journal, uuid_of(1), false, &len);
	ck_assert_str_eq(text, "a\nb\nc\n");
	ck_assert_uint_eq(len, 6);
	ck_assert_str_eq(record_journal_last_line(text, len), "c\n");
	free(text);
	ck_assert_int_eq(record_journal_done(journal, uuid_of(2), "record\n", 7), 0);
	ck_assert(record_journal_has(journal, uuid_of(2)));
	ck_assert(!record_journal_has(journal, uuid_of(1)));
	text = record_journal_read(journal, uuid_of(2), true, &len);
	ck_assert_str_eq(record_journal_last_line(text, len), "record\n");
	free(text);
	ck_assert(record_journal_remove(journal, uuid_of(2), true));
	ck_assert(!record_journal_remove(journal, uuid_of(2), true));
	ck_assert_ptr_null(record_journal_read(journal, uuid_of(2), true, &len));
	ck_assert_ptr_null(record_journal_last_line("", 0));
	record_journal_close(journal);
	journal = open_journal();
	ck_assert_uint_eq(count_journal(journal, false), 1);
	record_journal_close(journal);
	record_journal_close(NULL);
}
END_TEST

static struct record_writer *start_writer(struct record_journal *journal, uint32_t queue)
{
	struct record_writer_settings settings = {
		.file = {.path = path, .mode = 0640}, .sync_ms = 1, .queue_records = queue, .queue_bytes = 1 << 20};
	struct vl_error error;
	struct record_writer *writer = record_writer_start(&settings, journal, &error);

	need(writer != NULL, error.text);
	return writer;
}

/* A call that has ended: into the journal unless it is broken, and to the writer. */
static void end_call(struct record_writer *writer, struct record_journal *journal, unsigned int number, bool journaled)
{
	char *line;

	need(asprintf(&line, "{\"record\":\"call\",\"number\":%u}\n", number) > 0, "no memory");
	if (journaled)
		need(record_journal_done(journal, uuid_of(number), line, strlen(line)) == 0, "the journal takes no record");
	record_writer_put(writer, uuid_of(number), line, journaled);
}

static void await_written(struct record_writer *writer, uint64_t written)
{
	struct record_writer_counts counts;
	uint64_t until_ms = vl_clock_ms() + 10000;

	do {
		usleep(1000);
		record_writer_count(writer, &counts);
		ck_assert_uint_lt(vl_clock_ms(), until_ms);
	} while (counts.written < written);
}

/* Every number from 0 is there exactly once, in whole lines. */
static void expect_numbers(unsigned int count)
{
	unsigned int seen[4096] = {0}, number;
	const char *text = content(path);
	int len;

	while (*text != '\0') {
		ck_assert_msg(sscanf(text, "{\"record\":\"call\",\"number\":%u}%n", &number, &len) == 1, "%.40s", text);
		ck_assert_int_eq(text[len], '\n');
		ck_assert_uint_lt(number, count);
		ck_assert_uint_eq(seen[number]++, 0);
		text += len + 1;
	}
	for (number = 0; number < count; number++)
		ck_assert_msg(seen[number] == 1, "%u of %u", number, count);
}

static bool is_written(unsigned int number)
{
	char line[64];

	snprintf(line, sizeof(line), "\"number\":%u}\n", number);
	return strstr(content(path), line) != NULL;
}

START_TEST(test_writer_writes_in_order)
{
	struct record_journal *journal = open_journal();
	struct record_writer *writer = start_writer(journal, 100);
	struct record_writer_counts counts;

	for (unsigned int i = 0; i < 50; i++)
		end_call(writer, journal, i, i % 2);
	record_writer_stop(writer, 5000);
	expect_numbers(50);
	ck_assert_uint_eq(count_journal(journal, true), 0);
	writer = start_writer(journal, 100);
	record_writer_count(writer, &counts);
	ck_assert_uint_eq(counts.lost + counts.overflowed + counts.errors, 0);
	record_writer_stop(writer, 5000);
	expect_numbers(50);
	record_journal_close(journal);
	record_writer_stop(NULL, 0);
}
END_TEST

START_TEST(test_writer_waits_for_a_full_disk)
{
	struct record_journal *journal = open_journal();
	struct record_writer *writer;
	struct record_writer_counts counts;

	PLAY(3, -ENOSPC, 2, -ENOSPC, -ENOSPC);
	writer = start_writer(journal, 4);
	for (unsigned int i = 0; i < 40; i++)
		end_call(writer, journal, i, true);
	record_writer_count(writer, &counts);
	ck_assert_uint_le(counts.waiting, 4);
	ck_assert_uint_ge(counts.overflowed, 30);
	await_written(writer, 40);
	record_writer_count(writer, &counts);
	ck_assert_uint_eq(counts.written, 40);
	ck_assert_uint_eq(counts.errors, 3);
	ck_assert_uint_eq(counts.lost, 0);
	ck_assert_int_eq(counts.error, 0);
	ck_assert_uint_eq(counts.torn, 0);
	record_writer_stop(writer, 5000);
	expect_numbers(40);
	ck_assert_uint_eq(count_journal(journal, true), 0);
	record_journal_close(journal);
}
END_TEST

/* The journal's own record that was cut short is completed before one from the queue begins. */
START_TEST(test_writer_completes_a_record_of_the_journal)
{
	struct record_journal *journal = open_journal();
	struct record_writer_counts counts = {.errors = 0};
	struct record_writer *writer;

	for (unsigned int i = 0; i < 10; i++) {
		char line[64];

		snprintf(line, sizeof(line), "{\"record\":\"call\",\"number\":%u}\n", i);
		ck_assert_int_eq(record_journal_done(journal, uuid_of(i), line, strlen(line)), 0);
	}
	PLAY(1000, 1000, 27, -EIO); /* behind the number: no other line begins so */
	writer = start_writer(journal, 4);
	while (counts.errors == 0) {
		usleep(1000);
		record_writer_count(writer, &counts);
	}
	for (unsigned int i = 10; i < 14; i++)
		end_call(writer, journal, i, i % 2);
	await_written(writer, 14);
	record_writer_stop(writer, 5000);
	expect_numbers(14);
	record_journal_close(journal);
}
END_TEST

/* Killed behind the write of a record, and in the middle of one. */
START_TEST(test_writer_takes_up_where_a_kill_stopped_it)
{
	static const char *const left[] = {"{\"record\":\"call\",\"number\":0}\n{\"record\":\"call\",\"number\":1}\n",
		"{\"record\":\"call\",\"number\":0}\n{\"record\":\"call\",\"number\":1"};

	for (unsigned int round = 0; round < 2; round++) {
		struct record_journal *journal = open_journal();
		struct record_writer_counts counts;
		struct record_writer *writer;

		write_content(left[round]);
		for (unsigned int i = 1; i < 6; i++) {
			char line[64];

			snprintf(line, sizeof(line), "{\"record\":\"call\",\"number\":%u}\n", i);
			ck_assert_int_eq(record_journal_done(journal, uuid_of(i), line, strlen(line)), 0);
		}
		writer = start_writer(journal, 4);
		await_written(writer, 4 + round);
		record_writer_count(writer, &counts);
		ck_assert_uint_eq(counts.torn, 0);
		record_writer_stop(writer, 5000);
		expect_numbers(6);
		ck_assert_uint_eq(count_journal(journal, true), 0);
		record_journal_close(journal);
	}
}
END_TEST

START_TEST(test_writer_counts_what_nobody_could_take)
{
	struct record_journal *journal = open_journal();
	struct record_writer *writer;
	struct record_writer_counts counts;

	PLAY(-ENOSPC, -ENOSPC);
	writer = start_writer(journal, 2);
	for (unsigned int i = 0; i < 5; i++)
		end_call(writer, journal, i, false);
	record_writer_count(writer, &counts);
	ck_assert_uint_eq(counts.lost, 3);
	record_writer_stop(writer, 5000);
	expect_numbers(2);
	record_journal_close(journal);
}
END_TEST

/* The journal could not be told that the call has ended; once the record is written it is told. */
START_TEST(test_writer_forgets_a_call_that_seems_up)
{
	struct record_journal *journal = open_journal();
	struct record_writer *writer = start_writer(journal, 2);

	ck_assert_int_eq(record_journal_append(journal, uuid_of(0), "note\n", 5), 0);
	ck_assert_int_eq(record_journal_append(journal, uuid_of(1), "note\n", 5), 0);
	end_call(writer, journal, 0, false);
	record_writer_stop(writer, 5000);
	expect_numbers(1);
	ck_assert_uint_eq(count_journal(journal, false), 1);
	record_journal_close(journal);
}
END_TEST

/* A record that cannot be read now, for want of descriptors, is read later. */
START_TEST(test_writer_keeps_what_it_cannot_read)
{
	struct record_journal *journal = open_journal();
	struct record_writer *writer;
	struct record_writer_counts counts;
	struct rlimit before, none;
	uint64_t until_ms = vl_clock_ms() + 3000;

	PLAY(-ENOSPC);
	writer = start_writer(journal, 1);
	for (unsigned int i = 0; i < 4; i++)
		end_call(writer, journal, i, true);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	do {
		usleep(1000);
		record_writer_count(writer, &counts);
	} while (counts.error != EMFILE && vl_clock_ms() < until_ms);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	ck_assert_int_eq(counts.error, EMFILE);
	record_writer_stop(writer, 5000);
	expect_numbers(4);
	ck_assert_uint_eq(count_journal(journal, true), 0);
	record_journal_close(journal);
}
END_TEST

/* However long the notes before it. */
START_TEST(test_writer_takes_a_record_behind_many_notes)
{
	static const char line[] = "{\"record\":\"call\",\"number\":0}\n";
	static char notes[1 << 20];
	struct record_journal *journal = open_journal();
	struct record_writer *writer;

	memset(notes, 'n', sizeof(notes));
	notes[sizeof(notes) - 1] = '\n';
	for (unsigned int i = 0; i < 20; i++)
		ck_assert_int_eq(record_journal_append(journal, uuid_of(0), notes, sizeof(notes)), 0);
	ck_assert_int_eq(record_journal_done(journal, uuid_of(0), line, strlen(line)), 0);
	writer = start_writer(journal, 1);
	record_writer_stop(writer, 5000);
	expect_numbers(1);
	ck_assert_uint_eq(count_journal(journal, true), 0);
	record_journal_close(journal);
}
END_TEST

START_TEST(test_journal_is_squeezed)
{
	static const char piece[] = "{\"at_ms\":1,\"transcript\":{\"side\":\"model\",\"text\":\"a\",\"final\":false}}\n",
			  whole[] = "{\"at_ms\":1,\"transcript\":{\"side\":\"model\",\"text\":\"aa\",\"final\":true}}\n";
	struct record_journal *journal = open_journal();
	size_t len;
	char *text;

	for (unsigned int i = 0; i < 2; i++)
		ck_assert_int_eq(record_journal_append(journal, uuid_of(0), piece, strlen(piece)), 0);
	ck_assert_int_eq(record_journal_append(journal, uuid_of(0), whole, strlen(whole)), 0);
	ck_assert_int_eq(record_journal_squeeze(journal, uuid_of(0)), strlen(piece) + strlen(whole));
	text = record_journal_read(journal, uuid_of(0), false, &len);
	ck_assert_uint_eq(len, strlen(piece) + strlen(whole));
	ck_assert_int_eq(strncmp(text, piece, strlen(piece)), 0);
	ck_assert_str_eq(text + strlen(piece), whole);
	free(text);
	ck_assert_int_eq(record_journal_squeeze(journal, uuid_of(1)), -ENOENT);
	record_journal_close(journal);
}
END_TEST

/* What a stop could not write is written by the next start. */
START_TEST(test_writer_leaves_the_rest_to_the_next)
{
	struct record_journal *journal = open_journal();
	struct record_writer *writer;

	PLAY(5, -ENOSPC, -ENOSPC, -ENOSPC, -ENOSPC);
	writer = start_writer(journal, 100);
	for (unsigned int i = 0; i < 20; i++)
		end_call(writer, journal, i, true);
	record_writer_stop(writer, 200);
	ck_assert_uint_eq(count_journal(journal, true), 20);
	PLAY(0);
	writer = start_writer(journal, 100);
	record_writer_stop(writer, 5000);
	expect_numbers(20);
	ck_assert_uint_eq(count_journal(journal, true), 0);
	record_journal_close(journal);
}
END_TEST

/* A process that ends calls all the time is killed at any moment, again and again; in the end each record is there once. */
START_TEST(test_writer_survives_kills)
{
	unsigned int ended = 0, rounds = 60;
	struct record_journal *journal;
	struct record_writer *writer;
	int pipe_fds[2];

	ck_assert_int_eq(pipe(pipe_fds), 0);
	for (unsigned int round = 0; round < rounds; round++) {
		unsigned int number;
		pid_t child = fork();

		if (child == 0) {
			in_child = true;
			journal = open_journal();
			writer = start_writer(journal, 3);
			for (number = ended;; number++) {
				end_call(writer, journal, number, true);
				if (__real_write(pipe_fds[1], &number, sizeof(number)) != sizeof(number) || number > 4000)
					_exit(1);
				usleep(200);
			}
		}
		ck_assert_int_eq(fcntl(pipe_fds[0], F_SETFL, 0), 0);
		for (unsigned int i = 0; i <= round % 7; i++) {
			ck_assert_int_eq(read(pipe_fds[0], &number, sizeof(number)), sizeof(number));
			ended = number + 1;
		}
		usleep(round * 37 % 400);
		ck_assert_int_eq(kill(child, SIGKILL), 0);
		ck_assert_int_eq(waitpid(child, NULL, 0), child);
		/* What it said it ended, it ended; one more may be in the journal already, or even in the file. */
		ck_assert_int_eq(fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK), 0);
		while (read(pipe_fds[0], &number, sizeof(number)) == sizeof(number))
			ended = number + 1;
		journal = open_journal();
		ended += record_journal_has(journal, uuid_of(ended)) || is_written(ended);
		/* Killed in the middle of handing it over: the next process ends that call. */
		record_journal_remove(journal, uuid_of(ended), false);
		record_journal_close(journal);
	}
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	journal = open_journal();
	writer = start_writer(journal, 3);
	record_writer_stop(writer, 5000);
	ck_assert_uint_ge(ended, rounds);
	expect_numbers(ended);
	ck_assert_uint_eq(count_journal(journal, true), 0);
	record_journal_close(journal);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("record_file");

	unit_add_fixture(suite, "file", setup, teardown, test_file_is_made_with_its_mode, test_file_refuses_what_is_none,
		test_file_completes_a_line, test_file_closes_off_a_piece_of_another_line,
		test_file_finds_what_a_killed_process_wrote, test_file_follows_a_rotation, test_file_rotates_by_size);
	unit_add_fixture(suite, "journal", setup, teardown, test_journal_of_a_call, test_journal_is_squeezed);
	unit_add_fixture(suite, "writer", setup, teardown, test_writer_writes_in_order, test_writer_waits_for_a_full_disk,
		test_writer_completes_a_record_of_the_journal, test_writer_takes_up_where_a_kill_stopped_it,
		test_writer_counts_what_nobody_could_take, test_writer_leaves_the_rest_to_the_next,
		test_writer_forgets_a_call_that_seems_up, test_writer_keeps_what_it_cannot_read,
		test_writer_takes_a_record_behind_many_notes, test_writer_survives_kills);
	return unit_run(suite);
}
