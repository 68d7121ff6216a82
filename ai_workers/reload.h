/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the users file again while calls are up. */
#pragma once

struct worker;

/*
 * Read the users file again: calls that begin from now on use it, those that are up keep the user and key they began with. Where
 * Gemini is cannot change. A file with an error leaves everything as it was, with the error in the log. Worker loop.
 */
void worker_reload(struct worker *worker);
