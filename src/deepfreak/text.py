"""Names and texts escaped for a terminal, a table or a list."""


def printable(text: str) -> str:
    """Return `text` with its non-printable characters escaped, so that it stays on one line."""
    whole = text.encode("utf-8", "backslashreplace").decode()
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in whole
    )


def spelled(name: str) -> str:
    r"""Return a file's name as printable text; `unspelled` reverses it.

    Control characters become `\xNN`, a byte NN that is not UTF-8 `\udcNN`, a backslash two.
    """
    return "".join(
        character
        if character.isprintable() and character != "\\"
        else character.encode("unicode_escape", "surrogatepass").decode()
        for character in name
    )


def unspelled(text: str) -> str:
    """Return the name that `spelled` escaped; other text unchanged."""
    try:
        return text.encode("latin-1", "backslashreplace").decode("unicode_escape")
    except UnicodeDecodeError:
        return text
