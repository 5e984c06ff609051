"""Short names for values: equal values get equal names, here and on other machines."""

import hashlib
import json


def fingerprint(values: object, digits: int = 16) -> str:
    """Hexadecimal digits of the SHA-256 of `values` as JSON; what JSON does not know counts as its `str`."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
