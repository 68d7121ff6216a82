#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Copy one source file of the data plane with a fault planted in it, for the tests that the exhaustive check and the watermark
oracle find it.

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
        "\thash_sig_t signatures[SESSION_LOOKUP_BURST];\n",
        "\thash_sig_t signatures[SESSION_LOOKUP_BURST];\n\tstruct flow_key bare[SESSION_LOOKUP_BURST];\n",
        "\t\tpointers[i] = keys[i];\n\t\tsignatures[i] = flow_hash(&table->secret, keys[i]);\n",
        "\t\tbare[i] = " + BARE.replace("KEY", "keys[i]") + ";\n\t\tpointers[i] = &bare[i];\n"
        "\t\tsignatures[i] = flow_hash(&table->secret, &bare[i]);\n",
        *bare_argument("session_table_insert"),
        *bare_argument("session_table_remove"),
    ),
    "calls_reused_generation": ("calls.c", "\tif (++calls->generations[call->ref.index] == 0)\n", ""),
    "lost_keeps_route": ("route.c", "\tatomic_store_explicit(&shared->worker, ROUTE_NO_WORKER, memory_order_release);\n", "\t(void)shared;\n"),
    "end_keeps_route": ("route.c", "\tatomic_store_explicit(&shared->generation, 0, memory_order_release);\n", "\t(void)shared;\n"),
    "move_leaves_flow": ("binding.c", "\tleave_place(binding, entry, now_ms);\n\tif (entry->bound) {", "\tif (entry->bound) {"),
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
