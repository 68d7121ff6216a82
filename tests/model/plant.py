#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Copy one source file with a fault planted in it, for the tests that the exhaustive check, the watermark oracle and the session's
simulation find it.

usage: plant.py FAULT SOURCE_DIRECTORY OUTPUT
"""
import os
import sys

# A key without its source, as whoever believes in SSRCs would have it.
BARE = "(struct flow_key){.local = KEY->local, .local_port = KEY->local_port, .ssrc = KEY->ssrc}"


def bare_argument(function):
    """What replaces the head of a function of session_table.c that takes `key`."""
    head = f"int {function}(struct session_table *table, const struct flow_key *key{', struct session_ref ref' if 'insert' in function else ''})\n{{\n"
    body = head.replace("*key", "*given") + "\tstruct flow_key bare = " + BARE.replace("KEY", "given") + ", *key = &bare;\n"
    return head, body


# fault: file, then what is replaced and by what, once or several times
FAULTS = {
    "ssrc_only": (
        "binding_map.c",
        "\tcase BINDING_KIND_FLOW:\n",
        "\tcase BINDING_KIND_FLOW:\n\t\tpart.ssrc = key->ssrc;\n\t\tbreak;\n",
    ),
    "no_quarantine": ("binding_quarantine.c", "if (quarantine->duration_ms == 0)", "if (quarantine != NULL)"),
    "reused_generation": ("binding.c", "entry->used && entry->generation == ref.generation", "entry->used"),
    "ambiguous_to_first": (
        "binding.c",
        "return *count == 1 ? &binding->entries[node->members] : NULL;",
        "return *count >= 1 ? &binding->entries[node->members % binding->limits.max_sessions] : NULL;",
    ),
    "no_probation": ("binding_probation.c", "trial->count >= BINDING_PROBATION_PACKETS &&", "trial->count >= 1 ||"),
    # The next two are for the oracle: the table of the lcores, and the generations everything rests on.
    "table_ssrc_only": (
        "session_table.c",
        "\tif (unlikely(count == 0 || count > SESSION_LOOKUP_BURST))\n\t\treturn 0;\n",
        "\tif (unlikely(count == 0 || count > SESSION_LOOKUP_BURST))\n\t\treturn 0;\n"
        "\tstruct flow_key bare[SESSION_LOOKUP_BURST];\n"
        "\tconst struct flow_key *pointers[SESSION_LOOKUP_BURST];\n\n"
        "\tfor (unsigned int i = 0; i < count; i++) {\n"
        "\t\tbare[i] = " + BARE.replace("KEY", "keys[i]") + ";\n\t\tpointers[i] = &bare[i];\n\t}\n\tkeys = pointers;\n",
        *bare_argument("session_table_insert"),
        *bare_argument("session_table_remove"),
    ),
    "calls_reused_generation": ("calls.c", "\tif (++calls->generations[call->ref.index] == 0)\n", ""),
    "home_is_learned": ("binding_packet.c", "else if (count > 1 || (count == 1 && home != entry))", "else if (count > 1 && home == entry)"),
    "lost_keeps_route": ("route.c", "\tatomic_store_explicit(&shared->worker, ROUTE_NO_WORKER, memory_order_release);\n", "\t(void)shared;\n"),
    "end_keeps_route": ("route.c", "\tatomic_store_explicit(&shared->generation, 0, memory_order_release);\n", "\t(void)shared;\n"),
    "move_leaves_flow": ("binding.c", "\tleave_place(binding, entry, now_ms);\n\tif (entry->bound) {", "\tif (entry->bound) {"),
    # The call's session (session_world.c).
    "session_two_connections": ("session.c", "SESSION_DO_ABORT | changed(s, SESSION_ABORT_MS, now_ms)", "SESSION_DO_ABORT | changed(s, 0, now_ms)"),
    "session_dials_before_close": ("session.c", "return SESSION_DO_CLOSE | SESSION_DO_REPORT;", "return SESSION_DO_CLOSE | dial(s, now_ms);"),
    "session_rotates_over_speech": ("session.c", "return s->busy || s->asked;", "return s->asked;"),
    "session_rotates_over_question": ("session.c", "return s->busy || s->asked;", "return s->busy;"),
    "session_keeps_bad_handle": ("session.c", "++s->resume_fails >= SESSION_HANDLE_TRIES", "++s->resume_fails >= 100"),
    "session_takes_handle_back": ("session.c", "if (s->given_up && hash(e->handle) == s->given_up_handle)", "if (s->state == SESSION_IDLE)"),
    "session_keeps_old_handle": ("session.c", "if (s->handle != NULL && strcmp(s->handle, e->handle) == 0)", "if (s->handle != NULL)"),
    "session_setup_without_deadline": (
        "session.c",
        "\ts->deadline_ms = now_ms + limits_ms[phase];\n",
        "\ts->deadline_ms = phase == SESSION_PHASE_SETUP ? SESSION_NEVER : now_ms + limits_ms[phase];\n",
    ),
    "session_close_without_deadline": ("session.c", "s->deadline_ms = now_ms + SESSION_CLOSE_MS;", "s->deadline_ms = SESSION_NEVER;"),
    "session_no_backoff": ("session.c", "return delay / 2 + next_random(s) % delay;", "return 1 + next_random(s) % 2;"),
    "session_sent_away_in_circles": ("session.c", "} else if (s->attempt > 2) {", "} else if (s->attempt > 2000) {"),
    "session_ignores_go_away": ("session.c", "\t\ton_go_away(s, e->time_left_ms, now_ms);\n", "\t\t(void)on_go_away;\n"),
    "session_ignores_age": (
        "session.c", "s->rotate_ms = s->due_ms + SESSION_ROTATE_WINDOW_MS;", "s->rotate_ms = s->due_ms + 10 * SESSION_ROTATE_WINDOW_MS;"),
    "session_ignores_quota": ("session.c", "if (s->class == CLOSE_THROTTLED)", "if (s->class == CLOSE_THROTTLED && s->attempt > 99)"),
    "session_waits_for_quota": ("session.c", "if (!s->has_talked)\n\t\t\treturn refuse_for_quota(s);", "if (!s->has_talked && s->attempt > 2)\n\t\t\treturn refuse_for_quota(s);"),
    "session_no_budget": (
        "session.c", "if (now_ms + delay_ms > s->lost_ms + budget_ms(s))", "if (now_ms + delay_ms > s->lost_ms + 100 * budget_ms(s))"),
    "session_forgets_question": ("session.c", "\ts->resumed = false;\n\ts->attempt++;", "\ts->resumed = s->asked = false;\n\ts->attempt++;"),
    "session_retries_fatal": ("session.c", "\tcase CLOSE_OUR_BUG:\n\t\treturn fail(s);", "\tcase CLOSE_OUR_BUG:\n\t\tbreak;"),
    "session_waits_in_silence": (
        "session.c", "s->deadline_ms = now_ms + delay_ms;\n\treturn SESSION_DO_REPORT;", "s->deadline_ms = now_ms + delay_ms;\n\treturn 0;"),
    "session_counts_from_close": (
        "session.c", "\ts->gone_ms = now_ms + abort_ms;\n\tif (!s->closing_young)", "\ts->gone_ms = s->lost_ms;\n\tif (!s->closing_young)"),
    # One whole call (call_world.c).
    "call_old_audio": ("downlink.c", "\tbyte_queue_clear(&d->queue);\n\tvl_resampler_reset(d->resampler);", "\tvl_resampler_reset(d->resampler);"),
    "call_late_audio": ("downlink.c", "if (now_ms < d->muted_until_ms)", "if (now_ms + 9999 < d->muted_until_ms)"),
    "call_no_flush": (
        "downlink.c",
        "\tif (!d->paused) {\n\t\td->turn++;\n\t\td->flush_due = true;\n\t}",
        "",
    ),
    "call_paused_ignores": (
        "downlink.c", "\tstats_add(&stats->down_discarded_ms, d->queue.len / BYTES_PER_MS);\n", "\tstats_add(&stats->down_discarded_ms, d->queue.len / BYTES_PER_MS);\n\tif (d->paused)\n\t\treturn;\n"),
    "call_answers_twice": ("tool_ledger.c", "call->epoch == ledger->epoch && !call->confirmed)", "call->epoch == ledger->epoch)"),
    "call_answers_never_again": (
        "tool_ledger.c", "\t\tif (call->state == TOOL_CALL_ANSWERED && resumed && call->epoch == ledger->epoch && !call->confirmed)\n\t\t\tcall->sent = false;\n\t\telse if",
        "\t\tif"),
    "call_drops_answer": ("call_tools.c", "if (!resumed && note_unsent(call)) {", "(void)note_unsent;\n\tif (!resumed && call == NULL) {"),
    "call_loses_in_silence": ("call_tools.c", "report(call, \"tool_lost\", tool->id", "report(call, \"lost\", tool->id"),
    "call_asks_again": ("call_resume.c", "bool since = call->session.asked && !call->owed;", "bool since = call->session.asked && call->owed;"),
    "call_loses_words": ("call_resume.c", "bool all = took_none(call, now_ms);", "bool all = took_none(call, now_ms) && now_ms == 0;"),
    "call_waits_for_the_rest": ("call_turn.c", "call->tools.open > 0 ||", "call->tools.open > 0 || now_ms > 0 ||"),
    "call_says_heard_words": ("call_message.c", "if (m->members & SHOWS_HEARING)", "if ((m->members & SHOWS_HEARING) && now_ms == 0)"),
    "call_fails_in_silence": ("call.c", "if (actions & SESSION_DO_REPORT)", "if ((actions & SESSION_DO_REPORT) && call->session.state != SESSION_FAILED)"),
    "call_wss_left": ("call.c", "\twss_release(call->connection, graceful);\n", "\tif (graceful)\n\t\twss_release(call->connection, graceful);\n"),
    "call_no_tick": ("call.c", "if (now_ms >= call->session.deadline_ms)", "if (now_ms >= call->session.deadline_ms && call->session.state != SESSION_SETUP)"),
    "call_plays_too_far": ("downlink.c", "d->play_end_ms < now_ms + DOWNLINK_AHEAD_MS", "d->play_end_ms < now_ms + 4 * DOWNLINK_AHEAD_MS"),
    "call_plays_too_late": ("downlink.c", "d->play_end_ms < now_ms + DOWNLINK_AHEAD_MS", "d->play_end_ms + 40 < now_ms"),
    "session_reminds_for_ever": ("session.c", "switch (s->mute++) {", "switch (s->mute) {"),
}


def main():
    fault, directory, output = sys.argv[1:]
    name, *edits = FAULTS[fault]
    with open(os.path.join(directory, name), encoding="utf-8") as file:
        text = file.read()
    for old, new in zip(edits[::2], edits[1::2]):
        if text.count(old) != 1:
            sys.exit(f"plant.py: the place for '{fault}' is {text.count(old)} times in {name}: adapt FAULTS to the code")
        text = text.replace(old, new)
    with open(output, "w", encoding="utf-8") as file:
        file.write(text)


main()
