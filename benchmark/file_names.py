"""Names of files and anchors out of ids that may hold anything."""

import re

from benchmark.settings import content_hash

LONGEST = 80


def file_name(text: str) -> str:
    """A file name that any system and any address can hold, the same for the same text.

    Other characters than letters, digits, ``._-`` become a dash, and a hash keeps such names apart.

    Examples:
        >>> file_name("test-000012"), file_name("a/<b>")
        ('test-000012', 'a-b-f63d436d')
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:LONGEST]
    return plain if plain == text else f"{plain}-{content_hash(text)[:8]}".lstrip("-")
