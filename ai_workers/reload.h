/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the users file again while calls are up. */
#pragma once

struct dataplane_user;
struct users;
struct worker;

/*
 * Read the users file again: calls that begin from now on use it, those that are up keep the user and key they began with. Where
 * Gemini is cannot change. What the gate remembers of refusals is forgotten. A file with an error leaves everything as it was, with the error in the log. Worker loop.
 */
void worker_reload(struct worker *worker);

/*
 * The users as the data plane is told of them, with room for as many again behind; they point into `users`. Free with free(). NULL
 * when memory is short. Worker loop.
 */
struct dataplane_user *worker_list_users(const struct users *users);
