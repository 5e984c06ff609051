"""Computes short names for values: equal values get equal names, on this and on other machines."""

import hashlib
import json


def fingerprint(values: object, digits: int = 16) -> str:
    """Returns the first hexadecimal digits of the SHA-256 of `values` as JSON; `str` converts what JSON lacks."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
