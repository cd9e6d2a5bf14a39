"""One colour per structure, apart for people who see colours differently too."""

COLOURS = (
    "#ffa51e",
    "#00e1ff",
    "#873cff",
    "#f0005a",
    "#f0f0a5",
    "#0078b4",
    "#c35a00",
    "#78c396",
    "#c369ff",
    "#d2b45a",
    "#c3ff69",
    "#a55a87",
    "#f00fc3",
    "#d287b4",
    "#a5ffd2",
    "#4b784b",
)
"""Each was chosen as the one farthest (CIE Lab) from all before it, as seen with normal sight and
with red, green or blue blindness: the first ones are farthest apart.
"""


def colour_of(structure: int) -> str:
    """`#rrggbb` of structure 1, 2, ...; after sixteen they begin again."""
    return COLOURS[(structure - 1) % len(COLOURS)]


def rgb_of(structure: int) -> tuple[int, int, int]:
    """The same as three numbers to 255."""
    red, green, blue = bytes.fromhex(colour_of(structure)[1:])
    return red, green, blue
