# SPDX-License-Identifier: Apache-2.0
"""A table as a picture: SVG, with a pair of bars for each row. The longer one of a pair is as long
as the picture has room for, since rows have different units."""
from html import escape

from table import show

WIDTH, NAME_WIDTH, BAR_WIDTH = 1100, 470, 420
ROW, BAR, TOP, MARGIN = 44, 14, 60, 16
OURS, THEIRS, MISSED, INK = "#2b6cb0", "#a0aec0", "#c53030", "#1a202c"


def text(x, y, words, size=13, colour=INK, anchor="start", weight="normal"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(words)}</text>')


def bar(y, length, colour, words):
    return [f'<rect x="{NAME_WIDTH}" y="{y}" width="{max(length, 1):.1f}" height="{BAR}" '
            f'fill="{colour}"/>',
            text(NAME_WIDTH + length + 6, y + BAR - 3, words, 12)]


def draw_row(row, y):
    most = max(row.figure, row.floor) or 1
    mark = INK if row.in_target else MISSED
    yield text(MARGIN, y + 14, row.name)
    yield text(MARGIN, y + 29, f"ratio {row.ratio:.2f}, target {row.bound()}", 12, mark)
    yield from bar(y, BAR_WIDTH * row.figure / most, OURS if row.in_target else MISSED,
                   f"{show(row.figure)} {row.unit}")
    yield from bar(y + BAR + 2, BAR_WIDTH * row.floor / most, THEIRS,
                   f"{show(row.floor)} {row.unit}")


def draw(table):
    """The picture's text."""
    height = TOP + ROW * len(table.rows) + MARGIN
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
             f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
             f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
             text(MARGIN, 26, table.title, 17, weight="bold"),
             text(MARGIN, 46, f"blue: godwit (red: out of target); grey: {table.floor_name}", 12)]
    for number, row in enumerate(table.rows):
        lines += draw_row(row, TOP + ROW * number)
    return "\n".join([*lines, "</svg>", ""])
