/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: the data plane's configuration. What is refused says why in printable text; what is accepted keeps the promises
 * others rely on.
 */
#include <stdio.h>
#include <string.h>

#include "dpdk_app/config.h"
#include "fuzz.h"

static void check_promises(const struct config *config)
{
	const struct config_listen *listen = &config->listen;

	fuzz_check(listen->rtp_port != 0 && ip_prefix_contains(&listen->ip.subnet, &listen->ip.address));
	fuzz_check(!listen->has_dedicated_ports || listen->dedicated_ports[0] % 2 == 0);
	fuzz_check(config->trunk_count > 0 && config->sessions.max > 0);
	fuzz_check((config->workers.ring_slots & (config->workers.ring_slots - 1)) == 0);
	for (size_t t = 0; t < config->trunk_count; t++) {
		const struct config_trunk *trunk = &config->trunks[t];
		fuzz_check(config_trunk_find(config, trunk->name) == (int)t && trunk->source_count > 0);
		fuzz_check(trunk->port_mode == CONFIG_PORT_SHARED || listen->has_dedicated_ports);
		/* No source belongs to two trunks. */
		for (size_t i = 0; i < trunk->source_count; i++)
			fuzz_check(config_trunk_of(config, &trunk->sources[i].address) == (int)t);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vl_errors errors = {.count = 0};
	struct config *config = config_parse((const char *)data, size, &errors);

	fuzz_check((config == NULL) == (errors.count > 0));
	for (unsigned int i = 0; i < errors.count && i < VL_ERRORS_MAX; i++) {
		const char *text = errors.errors[i].text;
		fuzz_check(text[0] != '\0' && strlen(text) < sizeof(errors.errors[i].text));
		for (const char *c = text; *c != '\0'; c++)
			fuzz_check((unsigned char)*c >= 0x20 && *c != 0x7f);
	}
	if (config != NULL) {
		char *text = NULL;
		size_t len = 0;
		FILE *to = open_memstream(&text, &len);
		fuzz_check(to != NULL);
		config_explain(config, to);
		fclose(to);
		free(text);
		check_promises(config);
	}
	config_free(config);
	return 0;
}
