"""Numbers that strangers write."""

from __future__ import annotations


def whole_number(text: str, most: int) -> int | None:
    """What ASCII digits say, from 0 to `most`; None for anything else."""
    digits = text.lstrip("0") or text[:1]
    # First the length: int() raises for thousands of digits.
    if not (text.isascii() and text.isdigit() and len(digits) <= len(str(most)) and int(digits) <= most):
        return None
    return int(digits)
