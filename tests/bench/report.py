# SPDX-License-Identifier: Apache-2.0
"""What bench.h is to benches in C, for those in Python: medians of rounds with their spread, one line per number, and the same as JSON."""

import contextlib
import json
import pathlib
import sys


def prefer(pid):
    """What else runs on the machine gets less of it: the priority of the whole session, for that is what the scheduler shares processors between."""
    with contextlib.suppress(OSError):
        pathlib.Path(f"/proc/{pid}/autogroup").write_text("-15", encoding="ascii")


class Bench:
    """Numbers in the order they are reported; finish() writes them to the file of `--json FILE`, which is taken out of the arguments."""

    def __init__(self):
        self.json = None
        self.numbers = []
        if "--json" in sys.argv[:-1]:
            at = sys.argv.index("--json")
            self.json = sys.argv[at + 1]
            del sys.argv[at:at + 2]

    def report(self, name, samples, unit):
        """The median of `samples` (a list, or one number), and the tenth and ninetieth percentile as its spread."""
        values = sorted(samples) if isinstance(samples, list) else [samples]
        count = len(values)
        value, low, high = values[count // 2], values[count // 10], values[count - 1 - count // 10]
        spread = f"  ({low:.1f} to {high:.1f})" if count > 1 else ""
        print(f"{name:<58} {value:10.1f}{spread} {unit}", flush=True)
        self.numbers.append({"name": name, "value": round(value, 3), "low": round(low, 3), "high": round(high, 3), "samples": count, "unit": unit})

    def finish(self):
        if self.json:
            with open(self.json, "w", encoding="utf-8") as file:
                json.dump(self.numbers, file, indent=1)
                file.write("\n")
