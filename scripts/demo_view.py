# SPDX-License-Identifier: Apache-2.0
"""What the demo shows: a table redrawn in place on a terminal, plain lines elsewhere, and the verdict. Pure text from a model; no processes, no sockets."""

import os
import shutil
import sys
import time
import unicodedata

GREEN, RED, YELLOW, CYAN, BOLD, DIM, OFF = ("\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[36m", "\x1b[1m", "\x1b[2m", "\x1b[0m")


class Colours:
    """Colour codes, or nothing when the output is no terminal."""

    def __init__(self, on):
        self.on = on

    def __call__(self, code, text):
        return f"{code}{text}{OFF}" if self.on else text


def width_of(text):
    """Columns a text takes on a terminal."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def clean(text):
    """Text from the network without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)


def fit(text, width, right=False):
    """Exactly `width` columns: cut with an ellipsis or filled up."""
    if width_of(text) > width:
        while text and width_of(text) > width - 1:
            text = text[:-1]
        text += "…"
    space = " " * (width - width_of(text))
    return space + text if right else text + space


# Heading, width, right-aligned.
COLUMNS = [("user", 9, False), ("caller", 21, False), ("SSRC lock", 12, False), ("in", 7, True), ("out", 7, True), ("loss", 6, True),
           ("jitter", 8, True), ("AI", 12, False)]

STATE_COLOURS = {"talking": CYAN, "ready": GREEN, "failed": RED, "no-worker": RED, "reconnecting": YELLOW, "dialling": YELLOW, "setup": YELLOW}


def because(call):
    """Why a call has no conversation, for the end of a line."""
    return f" ({clean(call['trouble'])})" if call.get("trouble") else ""


def rule(left, middle, right):
    return left + middle.join("─" * (width + 2) for _, width, _ in COLUMNS) + right


def table(calls, colours):
    """Lines of the table. Each call: user, caller, ssrc, bound, packets_in, packets_out, lost, jitter_ms, state, caller_text, model_text, trouble."""
    lines = [rule("┌", "┬", "┐"),
             "│" + "│".join(f" {colours(BOLD, fit(name, width, right))} " for name, width, right in COLUMNS) + "│"]
    inner = sum(width + 3 for _, width, _ in COLUMNS) - 1
    for call in calls:
        lock = f"{call['ssrc']}" if call.get("bound") else "waiting"
        jitter = call.get("jitter_ms")
        cells = [call["user"], call["caller"], lock, f"{call['packets_in']:,}", f"{call['packets_out']:,}", f"{call['lost']:,}",
                 "-" if jitter is None else f"{jitter:.2f} ms", call["state"]]
        codes = [BOLD, "", GREEN if call.get("bound") else YELLOW, "", "", RED if call["lost"] else "", "", STATE_COLOURS.get(call["state"], "")]
        lines.append(rule("├", "┼", "┤"))
        lines.append("│" + "│".join(
            " " + (colours(code, fit(text, width, right)) if code else fit(text, width, right)) + " "
            for (_, width, right), text, code in zip(COLUMNS, cells, codes)) + "│")
        # Why there is no conversation is more than what was said before.
        gemini = ("Gemini", call["trouble"], RED) if call.get("trouble") else ("Gemini", call.get("model_text"), CYAN)
        for who, text, code in (("caller", call.get("caller_text"), ""), gemini):
            said = f"   {who}: {clean(text)}" if text else f"   {who}: …"
            said = fit(said, inner - 2)
            lines.append(f"│ {colours(code or DIM, said)} │")
    lines.append(rule("└", "┴", "┘"))
    return lines


class View:
    """Prints progress. On a terminal the table stays at the bottom and is redrawn; what is logged scrolls above it."""

    def __init__(self, out=sys.stdout, plain=False):
        self.out = out
        self.live = out.isatty() and not plain and os.environ.get("TERM", "dumb") != "dumb"
        self.colours = Colours((self.live or out.isatty()) and "NO_COLOR" not in os.environ)
        self.drawn = 0
        self.last_plain = 0.0

    def _erase(self):
        if self.drawn:
            self.out.write(f"\x1b[{self.drawn}A\x1b[J")
            self.drawn = 0

    def line(self, text="", code=""):
        """A line that stays."""
        self._erase()
        self.out.write((self.colours(code, text) if code else text) + "\n")
        self.out.flush()

    def draw(self, title, calls, now=None):
        """Show the state of the calls."""
        now = time.monotonic() if now is None else now
        if not self.live:
            if now - self.last_plain >= 2:
                self.last_plain = now
                for call in calls:
                    lock = call["ssrc"] if call.get("bound") else "waiting"
                    self.out.write(f"{title} {call['user']}: {call['caller']} lock {lock} in {call['packets_in']} out {call['packets_out']} "
                                   f"lost {call['lost']} AI {call['state']}{because(call)}\n")
                self.out.flush()
            return
        lines = [self.colours(BOLD, title), *table(calls, self.colours)]
        columns, rows = shutil.get_terminal_size((110, 40))
        if columns < sum(width + 3 for _, width, _ in COLUMNS) + 1 or rows < len(lines) + 2:
            lines = [self.colours(BOLD, fit(title, columns - 1).rstrip())] + [
                fit(f"{c['user']} lock {c['ssrc'] if c.get('bound') else 'waiting'} in {c['packets_in']} out {c['packets_out']} lost {c['lost']} "
                    f"{c['state']}{because(c)}", columns - 1).rstrip() for c in calls]
        self._erase()
        # The cursor is hidden only while drawing, so that Ctrl-C never leaves it hidden.
        self.out.write("\x1b[?25l" + "\n".join(lines) + "\n\x1b[?25h")
        self.out.flush()
        self.drawn = len(lines)

    def keep(self):
        """Leave the table where it is; what follows is printed below."""
        self.drawn = 0

    def verdict(self, checks):
        """Print the checks: objects with .ok, .what, .value. Returns whether all are fine."""
        self.keep()
        self.line()
        self.line("VERDICT", BOLD)
        widest = max(width_of(check.what) for check in checks)
        for check in checks:
            mark = self.colours(GREEN, "✔") if check.ok else self.colours(RED, "✘")
            value = clean(check.value) if check.ok else self.colours(RED, clean(check.value))
            self.line(f"  {mark} {fit(check.what, widest)}  {value}")
        good = all(check.ok for check in checks)
        self.line()
        self.line("PASS: nobody heard anybody else" if good else "FAIL", BOLD + (GREEN if good else RED))
        return good
