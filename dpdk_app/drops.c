/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and meanings of the drop reasons, generated from the one list in drops.h. Pure.
 */
#include "drops.h"

#include <stddef.h>

static const char *const names[DROP_COUNT] = {[DROP_NONE] = "none",
#define X(name, text, meaning) [DROP_##name] = text,
	DROP_REASONS(X)
#undef X
};

static const char *const meanings[DROP_COUNT] = {[DROP_NONE] = "not dropped",
#define X(name, text, meaning) [DROP_##name] = meaning,
	DROP_REASONS(X)
#undef X
};

const char *drop_reason_name(enum drop_reason reason)
{
	return (unsigned int)reason < DROP_COUNT ? names[reason] : NULL;
}

const char *drop_reason_meaning(enum drop_reason reason)
{
	return (unsigned int)reason < DROP_COUNT ? meanings[reason] : NULL;
}
