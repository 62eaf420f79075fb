"""A digest inside a file that covers every byte of it, so that no flip goes unseen.

Weights have no checksum of their own: a flipped bit would act, or train on, silently.
"""

import hashlib
import re

BLANK = "0" * 64
"""Write this where the digest belongs; it must be the first 64 hex digits in a row."""


def sealed(blob: bytes) -> bytes:
    """The file with the SHA-256 of itself in the place of ``BLANK``."""
    digest = hashlib.sha256(blob).hexdigest()
    return blob.replace(BLANK.encode(), digest.encode(), 1)


def check_seal(blob: bytes) -> None:
    """Find out whether a file is what ``sealed`` made.

    Raises:
        ValueError: it has no digest, or is changed.
    """
    digest = re.search(rb"[0-9a-f]{64}", blob)
    if digest is None:
        raise ValueError("it has no digest; early versions wrote none")
    blank = blob.replace(digest[0], BLANK.encode(), 1)
    if hashlib.sha256(blank).hexdigest().encode() != digest[0]:
        raise ValueError("it is not what was written")
