# SPDX-License-Identifier: MIT
"""What was required, what was measured, and whether that is good."""


class Results:
    def __init__(self, name):
        self.name, self.rows = name, []

    @property
    def good(self):
        return all(row[4] for row in self.rows)


def show(value):
    if value is None:
        return "never"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def add(results, what, wanted, measured, note=""):
    results.rows.append((what, show(wanted), show(measured), note, measured == wanted))


def add_most(results, what, most, measured, note=""):
    good = measured is not None and measured <= most
    results.rows.append((what, f"<= {show(most)}", show(measured), note, good))


def add_least(results, what, least, measured, note=""):
    good = measured is not None and measured >= least
    results.rows.append((what, f">= {show(least)}", show(measured), note, good))


def lines(all_results):
    """The table, a line for each measurement."""
    heading = ("EXPERIMENT", "WHAT", "WANTED", "MEASURED", "", "NOTE")
    rows = [heading]
    for results in all_results:
        for what, wanted, measured, note, good in results.rows:
            rows.append((results.name, what, wanted, measured, "ok" if good else "FAILED", note))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        yield "  ".join([*cells, row[5]]).rstrip()
