"""The domains that both lookup services know before they are asked: each has an MTA-STS policy for one host."""

from __future__ import annotations

COUNT = 200


def domains() -> list[str]:
    """Their names."""
    return [f"d{number}.partner.example" for number in range(COUNT)]


def mx_of(domain: str) -> str:
    """The one host that the policy of ``domain`` allows."""
    return f"mx.{domain}"
