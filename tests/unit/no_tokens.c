/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of calls whose users have keys: there is no service account, and nobody may ask for its token. */
#include <stdlib.h>

#include "ai_workers/token_source.h"

const char *token_source_get(struct token_source *source, const struct service_account *account, uint64_t *issued_ms)
{
	(void)source;
	(void)account;
	(void)issued_ms;
	abort();
}

const char *token_source_trouble(struct token_source *source, const struct service_account *account)
{
	(void)source;
	(void)account;
	abort();
}

bool token_source_rejected(struct token_source *source, const struct service_account *account, uint64_t issued_ms)
{
	(void)source;
	(void)account;
	(void)issued_ms;
	abort();
}
