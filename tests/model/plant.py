#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Copy one source file of the binding rules with a fault planted in it, for the test that the exhaustive check finds it.

usage: plant.py FAULT SOURCE_DIRECTORY OUTPUT
"""
import os
import sys

# fault: file, what is replaced, by what
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
    "move_leaves_flow": ("binding.c", "\tleave_place(binding, entry, now_ms);\n\tif (entry->bound) {", "\tif (entry->bound) {"),
}


def main():
    fault, directory, output = sys.argv[1:]
    name, old, new = FAULTS[fault]
    with open(os.path.join(directory, name), encoding="utf-8") as file:
        text = file.read()
    if text.count(old) != 1:
        sys.exit(f"plant.py: the place for '{fault}' is {text.count(old)} times in {name}: adapt FAULTS to the code")
    with open(output, "w", encoding="utf-8") as file:
        file.write(text.replace(old, new))


main()
