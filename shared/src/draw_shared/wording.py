"""Marks English texts that the page may show in another language."""


def message(text: str, /, **values: object) -> str:
    """Return an English text with its values filled in, `%(name)s` by `name`.

    The text is extracted into the catalogues, so that the page can find it again, whether it comes
    from a row, a log line or an answer, and show it in the visitor's language.
    """
    return text % values if values else text
