"""The page's content security policy: nothing loads, and only our own inline blocks run."""

from __future__ import annotations

import base64
import hashlib

__all__ = ["content_policy", "digest"]


def digest(block: str) -> str:
    """Return the hash by which a policy allows an inline block."""
    found = hashlib.sha256(block.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(found).decode('ascii')}'"


def content_policy(css: str, script: str) -> str:
    """Return the policy of a page with one style and one script block."""
    return "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            f"style-src {digest(css)}",
            f"script-src {digest(script)}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
