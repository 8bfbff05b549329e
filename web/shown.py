"""What strangers wrote, as a log and a terminal may show it: terminals obey control characters."""


def shown(text: str, longest: int) -> str:
    """Return a text with nothing in it that does not print, cut off where it becomes too long."""
    if text.isprintable() and len(text) <= longest:
        return text
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text[:longest])
