/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes doc/configuration.md from the tables that the parsers use, so the page cannot say anything else than the programs do. A
 * unit test compares the page with what this writes; scripts/reference.sh writes it again.
 */
#include <stdio.h>

#include "ai_workers/users.h"
#include "dpdk_app/config.h"

static const char head[] =
	"# Configuration\n\n"
	"This page is written by scripts/reference.sh from the tables the programs themselves use; change those, not the "
	"page.\n\n"
	"Both files are JSON (RFC 8259: no comments, no trailing commas, no member twice). A member that is not listed here is "
	"an error that\n"
	"names its path, so a slip of the pen cannot silently become a default. All errors of a file are reported at once:\n\n"
	"    trunks[0].sources[1]: '192.168.50.5o' is not an address or prefix (no bits behind its length)\n\n"
	"`none` as default means: may be left out, and then the feature is off or the value is chosen as the last column says. "
	"`[]` stands for each element\n"
	"of a list. A `reload` of `yes` means that a changed value takes effect without a restart; every other change needs "
	"one. Today that is so of\n"
	"the users file alone.\n\n"
	"## The data plane: voxlane.json\n\n"
	"Given with `voxlane-dataplane [EAL options] -- --config voxlane.json`. `--check-config` checks it, prints every setting "
	"with its effective\n"
	"value, and exits. The file must belong to root or the data plane's user and be writable by nobody else (`chmod go-w "
	"voxlane.json`). The least\n"
	"that works:\n\n"
	"```json\n"
	"{\n"
	"  \"listen\": {\"address\": \"10.77.0.1\", \"prefix_length\": 24, \"gateway\": \"10.77.0.254\", \"rtp_port\": 5004},\n"
	"  \"trunks\": [{\"name\": \"gate-voip\", \"sources\": [\"192.168.50.50\"]}]\n"
	"}\n"
	"```\n\n";

static const char users_head[] =
	"\n## The users file of a worker: users.json\n\n"
	"Given with `voxlane-worker --users users.json`. It holds API keys: it must belong to root or the worker's user and be "
	"closed to everybody else\n"
	"(`chmod 600 users.json`), otherwise the worker does not start. No error, log line or telemetry value repeats a key, or "
	"a value in "
	"which a key\n"
	"could stand by mistake. What is repeated: names of users, projects and functions, host names, and names of members that "
	"are too "
	"short to be a key.\n"
	"The file at `gemini.ca_file` may be read by anybody, but changed only by root or the worker's user.\n\n"
	"On SIGHUP the worker reads it again: calls that begin from then on use it, calls that are up keep what they began with. "
	"A "
	"file with an error, or\n"
	"with a change that needs a restart, is not taken; the log says why, and the one before stays in force.\n\n"
	"```json\n"
	"{\n"
	"  \"gemini\": {\"endpoint\": \"wss://generativelanguage.googleapis.com\", \"model\": \"gemini-3.8-live\"},\n"
	"  \"users\": [{\"name\": \"admin2\", \"api_key\": \"...\", \"voice\": \"Kore\", \"instructions\": \"You answer the "
	"phone.\"}]\n"
	"}\n"
	"```\n\n"
	"With Vertex AI users have service accounts instead of keys, one in common or one each; an account's key file is as "
	"closed as this one:\n\n"
	"```json\n"
	"{\n"
	"  \"gemini\": {\"service\": \"vertex\", \"model\": \"gemini-3.8-live\",\n"
	"             \"vertex\": {\"location\": \"europe-west4\", \"service_account_file\": \"/etc/voxlane/account.json\"}},\n"
	"  \"users\": [{\"name\": \"admin2\", \"voice\": \"Kore\"},\n"
	"            {\"name\": \"agent4\", \"vertex\": {\"service_account_file\": \"/etc/voxlane/agent4.json\"}}]\n"
	"}\n"
	"```\n\n";

int main(void)
{
	fputs(head, stdout);
	vl_settings_reference(config_table, stdout);
	fputs(users_head, stdout);
	vl_settings_reference(users_table, stdout);
	return ferror(stdout) != 0 || fflush(stdout) != 0;
}
