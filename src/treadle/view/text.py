"""A picture as text: one line a box, groups as headings, coloured where the terminal has colours."""

from __future__ import annotations

from rich.text import Text

from treadle.view.picture import Picture
from treadle.view.roles import ROLES

INDENT = "  "


def rows(picture: Picture) -> list[tuple[str, str, str, str]]:
    """For every line: what is computed, its type, its role and the user's line; a heading has no role."""
    found: list[tuple[str, str, str, str]] = []
    open_group: tuple[str, ...] = ()
    for box in picture.boxes:
        if box.group != open_group:
            common = 0
            while box.group[: common + 1] == open_group[: common + 1] and common < len(box.group):
                common += 1
            for depth in range(common, len(box.group)):
                found.append((INDENT * depth + box.group[depth] + ":", "", "", ""))
            open_group = box.group
        mark = "  (output)" if box.output else ""
        found.append((INDENT * len(box.group) + box.text + mark, box.type, box.role, box.line.split(": ")[0]))
    return found


def picture_text(picture: Picture) -> Text:
    """The picture as styled text, columns aligned."""
    table = rows(picture)
    first = min(56, max((len(row[0]) for row in table), default=0))
    second = min(28, max((len(row[1]) for row in table), default=0))
    text = Text()
    for said, type, role, line in table:
        if not role:
            text.append(said + "\n", style="bold")
            continue
        text.append(f"{said:<{first}}", style=ROLES[role].terminal)
        text.append(f"  {type:<{second}}  ")
        text.append(f"{role:<8}  {line}".rstrip() + "\n", style="dim")
    return text
