"""What a node is for, as a picture colours it. The only file that knows which leaf op plays which role."""

from __future__ import annotations

from dataclasses import dataclass

from treadle.graph.node import Node


@dataclass(frozen=True)
class Role:
    """A role: what the legend says, fill and stroke on light and on dark ground, style in a terminal."""

    name: str
    legend: str
    light: tuple[str, str]
    dark: tuple[str, str]
    terminal: str


ROLES = {
    role.name: role
    for role in (
        Role("input", "given at run time", ("#dbeafe", "#2563eb"), ("#17305c", "#6ba4ff"), "blue"),
        Role("constant", "fixed values", ("#eceff3", "#7b8794"), ("#2b323b", "#9aa7b5"), "bright_black"),
        Role(
            "variable",
            "keeps its value between runs",
            ("#fdeec4", "#b87503"),
            ("#46360f", "#e8b64a"),
            "yellow",
        ),
        Role("forward", "computed", ("#d8f3e3", "#15803d"), ("#123d27", "#55c888"), "green"),
        Role("gradient", "made by gradients", ("#fde0e4", "#be2945"), ("#4d1a26", "#f5899b"), "red"),
        Role("update", "changes a variable", ("#ebe2fd", "#7434d3"), ("#35215c", "#b795fb"), "magenta"),
    )
}

LEAF_ROLES = {
    "placeholder": "input",
    "input": "input",
    "key": "input",
    "constant": "constant",
    "scalar": "constant",
    "data": "constant",
    "dummy": "constant",
    "read": "variable",
}


def role_of(node: Node) -> str:
    """The role of one node by itself; the read of an assignment that is still pending is an update."""
    if node.op.name == "read" and node.inputs:
        return "update"
    if node.op.name == "data" and node.role == "gradient":
        # Computed, and its history is gone.
        return "gradient"
    return LEAF_ROLES.get(node.op.name, node.role)
