"""Names and texts as lines of a terminal, a table or a list can have them."""


def printable(text: str) -> str:
    """Return `text` with everything that could move a terminal's cursor spelled out."""
    whole = text.encode("utf-8", "backslashreplace").decode()
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in whole
    )


def spelled(name: str) -> str:
    r"""Return a file's name as printable text from which `unspelled` gives it back.

    Control characters become `\xNN`, a byte NN that is not UTF-8 `\udcNN`, a backslash two.
    """
    return "".join(
        character
        if character.isprintable() and character != "\\"
        else character.encode("unicode_escape", "surrogatepass").decode()
        for character in name
    )


def unspelled(text: str) -> str:
    """Return the name that `spelled` has spelled; other text as it is."""
    try:
        return text.encode("latin-1", "backslashreplace").decode("unicode_escape")
    except UnicodeDecodeError:
        return text
