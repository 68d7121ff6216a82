/* SPDX-License-Identifier: Apache-2.0 */
/* The data plane's configuration: defaults, every cross check, the texts people read, files. */
#include "dpdk_app/config.h"
#include "dpdk_app/playout.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

#define LISTEN "\"listen\":{\"address\":\"10.77.0.1\",\"prefix_length\":24}"
#define LISTEN_DEDICATED \
	"\"listen\":{\"address\":\"10.77.0.1\",\"prefix_length\":24,\"rtp_port\":5004,\"dedicated_ports\":[20000,29999]}"
#define TRUNKS "\"trunks\":[{\"name\":\"a\",\"sources\":[\"10.77.0.2\"]}]"

static struct config *parse(const char *text, struct vl_errors *errors)
{
	memset(errors, 0, sizeof(*errors));
	return config_parse(text, strlen(text), errors);
}

START_TEST(test_config_defaults)
{
	struct vl_errors errors;
	char text[IP_ADDRESS_TEXT_SIZE];
	struct config *c = parse("{" LISTEN "," TRUNKS "}", &errors);
	ck_assert_msg(c != NULL, "%s", errors.errors[0].text);
	ck_assert_str_eq(ip_address_format(&c->listen.ip.address, text), "10.77.0.1");
	ck_assert_str_eq(ip_address_format(&c->listen.ip.subnet.address, text), "10.77.0.0");
	ck_assert_uint_eq(c->listen.ip.subnet.length, 120);
	ck_assert(!c->listen.ip.has_gateway && !c->has_listen6 && !c->listen.has_dedicated_ports);
	ck_assert(c->listen.rtp_port == 5004 && c->listen.vlan == 0 && c->listen.port == 0 && c->node[0] == '\0');
	ck_assert_uint_eq(c->trunk_count, 1);
	ck_assert(c->trunks[0].default_port == 5004 && c->trunks[0].port_mode == CONFIG_PORT_SHARED &&
		  !c->trunks[0].allow_nat_rebind);
	ck_assert_int_eq(c->playout.idle, PLAYOUT_IDLE_SILENCE);
	ck_assert(c->sessions.max == 10000 && c->sessions.media_timeout_s == 60 && c->sessions.hold_timeout_s == 3600 &&
		  c->sessions.quarantine_s == 30);
	ck_assert(c->learning.packets_per_second == 50 && c->learning.total_per_second == 20000 && c->learning.pending == 1024);
	ck_assert(
		c->workers.max == 16 && c->workers.ring_slots == 16384 && c->workers.timeout_s == 5 && c->workers.uid_count == 0);
	ck_assert_str_eq(c->sockets.control, "/run/voxlane/control.sock");
	ck_assert_str_eq(c->sockets.workers, "/run/voxlane/worker.sock");
	ck_assert_uint_eq(c->sockets.mode, 0660);
	ck_assert(c->drain.timeout_s == 30 && c->lcores.sleep && c->log.level == VL_LOG_INFO);
	config_free(c);
}
END_TEST

static const char everything[] =
	"{\"node\":\"edge-1\",\"listen\":{\"address\":\"10.77.0.1\",\"prefix_length\":24,\"gateway\":\"10.77.0.254\",\"rtp_"
	"port\":6000,"
	"\"dedicated_ports\":[20000,29999],\"vlan\":100,\"port\":1},"
	"\"listen6\":{\"address\":\"2001:db8::1\",\"prefix_length\":64,\"gateway\":\"fe80::1\"},"
	"\"trunks\":[{\"name\":\"gate-voip\",\"sources\":[\"192.168.50.50\",\"192.168.51.0/24\"],\"default_port\":5004,"
	"\"port_mode\":\"shared\",\"allow_nat_rebind\":true},"
	"{\"name\":\"other\",\"sources\":[\"2001:db8:1::/48\"],\"port_mode\":\"dedicated\"}],"
	"\"playout\":{\"idle\":\"comfort-noise\"},"
	"\"sessions\":{\"max\":100000,\"media_timeout_s\":30,\"hold_timeout_s\":60,\"quarantine_s\":1},"
	"\"learning\":{\"packets_per_second\":100,\"total_per_second\":1000,\"pending\":64},"
	"\"workers\":{\"max\":2,\"ring_slots\":1024,\"timeout_s\":3,\"uids\":[1000,1001],\"shards\":[{\"uid\":1002,\"users\":["
	"\"admin2\",\"team-*\"]}]},"
	"\"sockets\":{\"control\":\"/tmp/c.sock\",\"workers\":\"/tmp/w.sock\",\"mode\":\"0600\"},"
	"\"drain\":{\"timeout_s\":0},\"lcores\":{\"sleep\":false},\"log\":{\"level\":\"debug\"}}";

START_TEST(test_config_everything)
{
	struct vl_errors errors;
	struct ip_address source;
	struct config *c = parse(everything, &errors);
	ck_assert_msg(c != NULL, "%s", errors.errors[0].text);
	ck_assert_str_eq(c->node, "edge-1");
	ck_assert(c->listen.ip.has_gateway && c->has_listen6 && c->listen6.has_gateway && c->listen6.subnet.length == 64);
	ck_assert(
		c->listen.has_dedicated_ports && c->listen.dedicated_ports[0] == 20000 && c->listen.dedicated_ports[1] == 29999);
	ck_assert(c->listen.vlan == 100 && c->listen.port == 1 && c->listen.rtp_port == 6000);
	ck_assert(c->trunks[0].source_count == 2 && c->trunks[0].allow_nat_rebind &&
		  c->trunks[1].port_mode == CONFIG_PORT_DEDICATED);
	ck_assert(c->workers.uid_count == 2 && c->workers.uids[1] == 1001 && c->sockets.mode == 0600);
	ck_assert(c->workers.shard_count == 1 && c->workers.shards[0].uid == 1002 && c->workers.shards[0].user_count == 2);
	ck_assert(config_shard_serves(&c->workers.shards[0], "admin2") && config_shard_serves(&c->workers.shards[0], "team-b"));
	ck_assert(!config_shard_serves(&c->workers.shards[0], "admin") &&
		  !config_shard_serves(&c->workers.shards[0], "admin23") && !config_shard_serves(&c->workers.shards[0], "team"));
	ck_assert(!c->lcores.sleep && c->log.level == VL_LOG_DEBUG && c->playout.idle == PLAYOUT_IDLE_COMFORT_NOISE);
	ck_assert_int_eq(config_trunk_find(c, "other"), 1);
	ck_assert_int_eq(config_trunk_find(c, "none"), -1);
	ip_address_parse("192.168.51.7", &source);
	ck_assert_int_eq(config_trunk_of(c, &source), 0);
	ip_address_parse("2001:db8:1:2::3", &source);
	ck_assert_int_eq(config_trunk_of(c, &source), 1);
	ip_address_parse("192.168.50.51", &source);
	ck_assert_int_eq(config_trunk_of(c, &source), -1);
	config_free(c);
	config_free(NULL);
}
END_TEST

static const struct {
	const char *text, *error;
} bad[] = {
	{"{", "line 1, column 2: expected a member name in double quotes"},
	{"{" TRUNKS "}", "listen: is missing"},
	{"{" LISTEN "}", "trunks: is missing"},
	{"{" LISTEN "," TRUNKS ",\"sessions\":{\"quarantine_s\":0}}", "sessions.quarantine_s: 0 is not in 1..3600"},
	{"{" LISTEN "," TRUNKS ",\"workers\":{\"shards\":[{\"uid\":5,\"users\":[\"a*b\"]}]}}",
		"workers.shards[0].users[0]: 'a*b' is not a user, or the beginning of one with a * behind"},
	{"{" LISTEN "," TRUNKS ",\"workers\":{\"shards\":[{\"uid\":5,\"users\":[\"a\"]},{\"uid\":5,\"users\":[\"b\"]}]}}",
		"workers.shards[1].uid: 5 is the uid of workers.shards[0] already"},
	{"{" LISTEN ",\"trunks\":[]}", "trunks: has 0 elements, not 1 to 256"},
	{"{" LISTEN "," TRUNKS ",\"trunk\":[]}", "trunk: no such member"},
	{"{" LISTEN ",\"trunks\":[{\"name\":\"a\",\"sources\":[\"192.168.50.50\",\"192.168.50.5o\"]}]}",
		"trunks[0].sources[1]: '192.168.50.5o' is not an address or prefix (no bits behind its length)"},
	{"{" LISTEN ",\"trunks\":[{\"name\":\"a\",\"sources\":[\"10.0.0.1/24\"]}]}",
		"trunks[0].sources[0]: '10.0.0.1/24' is not an address or prefix (no bits behind its length)"},
	{"{" LISTEN ",\"trunks\":[{\"name\":\"a b\",\"sources\":[\"10.0.0.1\"]}]}",
		"trunks[0].name: 'a b' is not a name of letters, digits, '.', '_' and '-' that begins with a letter or digit"},
	{"{\"listen\":{\"address\":\"2001:db8::1\",\"prefix_length\":24}," TRUNKS "}",
		"listen.address: '2001:db8::1' is not the IPv4 address of a host"},
	{"{\"listen\":{\"address\":\"224.0.0.1\",\"prefix_length\":24}," TRUNKS "}",
		"listen.address: '224.0.0.1' is not the IPv4 address of a host"},
	{"{\"listen\":{\"address\":\"10.77.0.0\",\"prefix_length\":24}," TRUNKS "}",
		"listen.address: '10.77.0.0' is the network or broadcast address of its own prefix /24"},
	{"{\"listen\":{\"address\":\"10.77.0.255\",\"prefix_length\":24}," TRUNKS "}",
		"listen.address: '10.77.0.255' is the network or broadcast address of its own prefix /24"},
	{"{\"listen\":{\"address\":\"10.77.0.1\",\"prefix_length\":33}," TRUNKS "}", "listen.prefix_length: 33 is not in 1..32"},
	{"{\"listen\":{\"address\":\"10.77.0.1\",\"prefix_length\":24,\"gateway\":\"10.78.0.1\"}," TRUNKS "}",
		"listen.gateway: '10.78.0.1' is not in the prefix of 10.77.0.1/24"},
	{"{\"listen\":{\"address\":\"10.77.0.1\",\"prefix_length\":24,\"gateway\":\"10.77.0.1\"}," TRUNKS "}",
		"listen.gateway: '10.77.0.1' is the data plane's own address"},
	{"{" LISTEN ",\"listen6\":{\"address\":\"2001:db8::1\",\"prefix_length\":64,\"gateway\":\"2001:db9::1\"}," TRUNKS "}",
		"listen6.gateway: '2001:db9::1' is not in the prefix of 2001:db8::1/64"},
	{"{" LISTEN ",\"listen6\":{\"address\":\"10.0.0.1\",\"prefix_length\":64}," TRUNKS "}",
		"listen6.address: '10.0.0.1' is not the IPv6 address of a host"},
	{"{" LISTEN ",\"listen6\":{\"prefix_length\":64}," TRUNKS "}", "listen6.address: is missing"},
	{"{\"listen\":{\"address\":\"10.77.0.1\",\"prefix_length\":24,\"dedicated_ports\":[20001,20100]}," TRUNKS "}",
		"listen.dedicated_ports[0]: 20001 is odd; RTP takes the even port of a pair"},
	{"{\"listen\":{\"address\":\"10.77.0.1\",\"prefix_length\":24,\"dedicated_ports\":[20000,20000]}," TRUNKS "}",
		"listen.dedicated_ports: has no room for a pair of ports"},
	{"{\"listen\":{\"address\":\"10.77.0.1\",\"prefix_length\":24,\"rtp_port\":20101,\"dedicated_ports\":[20000,20100]}"
	 "," TRUNKS "}",
		"listen.rtp_port: 20101 is odd; RTP takes an even port and RTCP the next odd one"},
	{"{\"listen\":{\"address\":\"10.77.0.1\",\"prefix_length\":24,\"rtp_port\":20000,\"dedicated_ports\":[20000,20100]}"
	 "," TRUNKS "}",
		"listen.rtp_port: 20000 lies in dedicated_ports 20000 to 20101"},
	{"{\"listen\":{\"address\":\"10.77.0.1\",\"prefix_length\":24,\"rtp_port\":19999,\"dedicated_ports\":[20000,20100]}"
	 "," TRUNKS "}",
		"listen.rtp_port: 19999 is odd; RTP takes an even port and RTCP the next odd one"},
	{"{\"listen\":{\"address\":\"10.77.0.1\",\"prefix_length\":24,\"vlan\":0}," TRUNKS "}",
		"listen.vlan: 0 is not in 1..4094"},
	{"{" LISTEN ",\"trunks\":[{\"name\":\"a\",\"sources\":[\"10.0.0.1\"],\"port_mode\":\"dedicated\"}]}",
		"trunks[0].port_mode: 'dedicated' needs listen.dedicated_ports"},
	{"{" LISTEN ",\"trunks\":[{\"name\":\"a\",\"sources\":[\"10.0.0.1\"],\"port_mode\":\"own\"}]}",
		"trunks[0].port_mode: 'own' is not one of \"shared\", \"dedicated\""},
	{"{" LISTEN ",\"trunks\":[{\"name\":\"a\",\"sources\":[\"10.0.0.1\"]},{\"name\":\"a\",\"sources\":[\"10.0.0.2\"]}]}",
		"trunks[1].name: 'a' is the name of trunks[0] already"},
	{"{" LISTEN ",\"trunks\":[{\"name\":\"a\",\"sources\":[\"10.9.9.9\",\"10.0.0.0/"
	 "16\"]},{\"name\":\"b\",\"sources\":[\"10.0.1.0/24\"]}]}",
		"trunks[1].sources[0]: 10.0.1.0/24 of trunk 'b' overlaps 10.0.0.0/16 of trunk 'a' (trunks[0].sources[1])"},
	{"{" LISTEN ",\"trunks\":[{\"name\":\"a\",\"sources\":[\"10.0.1.0/24\"]},{\"name\":\"b\",\"sources\":[\"0.0.0.0/0\"]}]}",
		"trunks[1].sources[0]: 0.0.0.0/0 of trunk 'b' overlaps 10.0.1.0/24 of trunk 'a' (trunks[0].sources[0])"},
	{"{" LISTEN ",\"trunks\":[{\"name\":\"a\",\"sources\":[\"10.0.0.1\"]},{\"name\":\"b\",\"sources\":[\"10.0.0.1\"]}]}",
		"trunks[1].sources[0]: 10.0.0.1/32 of trunk 'b' overlaps 10.0.0.1/32 of trunk 'a' (trunks[0].sources[0])"},
	{"{" LISTEN ",\"trunks\":[{\"name\":\"a\",\"sources\":[\"2001:db8::/32\"]}]}",
		"trunks[0].sources[0]: an IPv6 source needs listen6"},
	{"{" LISTEN ",\"listen6\":{\"address\":\"2001:db8::1\",\"prefix_length\":64},"
	 "\"trunks\":[{\"name\":\"a\",\"sources\":[\"::/0\"]}]}",
		"trunks[0].sources[0]: holds every IPv4 address too (::ffff:0:0/96); say 2000::/3 or 0.0.0.0/0 for what is "
		"meant"},
	{"{" LISTEN ",\"listen6\":{\"address\":\"2001:db8::1\",\"prefix_length\":64},"
	 "\"trunks\":[{\"name\":\"a\",\"sources\":[\"2000::/3\",\"::/32\"]}]}",
		"trunks[0].sources[1]: holds every IPv4 address too (::ffff:0:0/96); say 2000::/3 or 0.0.0.0/0 for what is "
		"meant"},
	{"{" LISTEN "," TRUNKS ",\"workers\":{\"ring_slots\":1000}}", "workers.ring_slots: 1000 is not a power of two"},
	{"{" LISTEN "," TRUNKS ",\"workers\":{\"uids\":[-1]}}", "workers.uids[0]: -1 is not in 0..4294967294"},
	{"{" LISTEN "," TRUNKS ",\"learning\":{\"total_per_second\":10}}",
		"learning.total_per_second: 10 is less than packets_per_second for one flow, 50"},
	{"{" LISTEN "," TRUNKS ",\"sockets\":{\"control\":\"/a\",\"workers\":\"/a\"}}",
		"sockets.workers: '/a' is the control socket"},
	{"{" LISTEN "," TRUNKS ",\"sockets\":{\"control\":\"a\"}}", "sockets.control: is not"},
	{"{" LISTEN "," TRUNKS ",\"sockets\":{\"mode\":\"0999\"}}",
		"sockets.mode: '0999' is not an octal file mode such as \"0660\""},
	{"{" LISTEN "," TRUNKS ",\"sockets\":{\"mode\":432}}", "sockets.mode: 432 is not an octal file mode such as \"0660\""},
	{"{" LISTEN "," TRUNKS ",\"sessions\":{\"max\":0}}", "sessions.max: 0 is not in 1..1000000"},
	{"{" LISTEN "," TRUNKS ",\"log\":{\"level\":\"verbose\"}}",
		"log.level: 'verbose' is not one of \"error\", \"warning\", \"info\", \"debug\""},
};

START_TEST(test_config_refuses)
{
	struct vl_errors errors;
	errno = 0;
	ck_assert_ptr_null(parse(bad[_i].text, &errors));
	ck_assert_int_eq(errno, EINVAL);
	if (strcmp(bad[_i].error, "sockets.control: is not") == 0)
		ck_assert_str_eq(errors.errors[0].text, "sockets.control: has 1 bytes, not 2 to 107");
	else
		ck_assert_str_eq(errors.errors[0].text, bad[_i].error);
	ck_assert_uint_eq(errors.count, 1);
}
END_TEST

START_TEST(test_config_reports_all)
{
	struct vl_errors errors;
	ck_assert_ptr_null(parse("{" LISTEN ",\"trunks\":[{\"name\":\"a\",\"sources\":[\"10.0.0.1\",\"2001:db8::/32\"]},"
				 "{\"name\":\"a\",\"sources\":[\"10.0.0.1\"],\"port_mode\":\"dedicated\"}]}",
		&errors));
	ck_assert_uint_eq(errors.count, 4);
}
END_TEST

START_TEST(test_config_slash_31_has_two_hosts)
{
	struct vl_errors errors;
	struct config *c = parse(
		"{\"listen\":{\"address\":\"10.0.0.0\",\"prefix_length\":31,\"gateway\":\"10.0.0.1\"}," TRUNKS "}", &errors);
	ck_assert_msg(c != NULL, "%s", errors.errors[0].text);
	config_free(c);
}
END_TEST

START_TEST(test_config_warns_of_open_socket)
{
	static const struct {
		const char *mode;
		unsigned int warnings;
	} cases[] = {{"0660", 0}, {"0664", 0}, {"0662", 1}, {"0666", 1}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vl_errors errors = {.count = 0}, warnings = {.count = 0};
		char text[1024];

		snprintf(text, sizeof(text), "{" LISTEN "," TRUNKS ",\"sockets\":{\"mode\":\"%s\"}}", cases[i].mode);
		struct config *c = config_parse(text, strlen(text), &errors);
		ck_assert_msg(c != NULL, "%s", errors.errors[0].text);
		config_warn(c, &warnings);
		ck_assert_uint_eq(warnings.count, cases[i].warnings);
		if (warnings.count > 0)
			ck_assert_ptr_nonnull(
				strstr(warnings.errors[0].text, "lets everybody on this machine begin and end calls"));
		config_free(c);
	}
}
END_TEST

START_TEST(test_config_loads_files)
{
	struct vl_errors errors = {.count = 0};
	char path[] = "/tmp/vl-config-XXXXXX";
	int fd = mkstemp(path);
	ck_assert_int_eq(write(fd, everything, sizeof(everything) - 1), sizeof(everything) - 1);
	close(fd);
	struct config *c = config_load(path, &errors);
	ck_assert_msg(c != NULL, "%s", errors.errors[0].text);
	char *text = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);
	config_explain(c, to);
	fclose(to);
	ck_assert_ptr_nonnull(strstr(text, "trunks[0].sources"));
	ck_assert_ptr_nonnull(strstr(text, "[\"192.168.50.50\",\"192.168.51.0/24\"]"));
	free(text);
	config_free(c);
	static const mode_t open_modes[] = {0620, 0602, 0664, 0666};
	for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
		char expected[128];

		memset(&errors, 0, sizeof(errors));
		ck_assert_int_eq(chmod(path, open_modes[i]), 0);
		ck_assert_ptr_null(config_load(path, &errors));
		ck_assert_int_eq(errno, EPERM);
		snprintf(expected, sizeof(expected), "group or others may change it (mode %04o); run: chmod go-w %s",
			open_modes[i], path);
		ck_assert_str_eq(errors.errors[0].text, expected);
	}
	memset(&errors, 0, sizeof(errors));
	ck_assert_int_eq(chmod(path, 0644), 0);
	c = config_load(path, &errors);
	ck_assert_msg(c != NULL, "%s", errors.errors[0].text);
	config_free(c);
	unlink(path);
	ck_assert_ptr_null(config_load(path, &errors));
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_ptr_nonnull(strstr(errors.errors[0].text, "No such file or directory"));
	memset(&errors, 0, sizeof(errors));
	ck_assert_ptr_null(config_load("/tmp", &errors));
	ck_assert_str_eq(errors.errors[0].text, "not a regular file");
	memset(&errors, 0, sizeof(errors));
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_ptr_null(config_load(path, &errors));
	unlink(path);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config");
	unit_add(suite, "accept", test_config_defaults, test_config_everything, test_config_slash_31_has_two_hosts);
	TCase *tc = tcase_create("refuse");
	tcase_add_loop_test(tc, test_config_refuses, 0, sizeof(bad) / sizeof(bad[0]));
	suite_add_tcase(suite, tc);
	unit_add(suite, "report", test_config_reports_all);
	unit_add(suite, "file", test_config_loads_files, test_config_warns_of_open_socket);
	return unit_run(suite);
}
