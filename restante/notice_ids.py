"""The Message-ID of a recipient's notice: by it the notice is known again in the MTA's log and in reports about it.

It names the link that the notice brings by the id of its row, which opens nothing and stands nowhere else.  A notice
about ways to sign in brings none, and names its job instead.
"""

from __future__ import annotations

import re

_NOTICE = re.compile(r"<([0-9a-f]{32})\.notice@[^<>@\s]{1,255}>")


def notice_message_id(link_id: str, hostname: str) -> str:
    """The Message-ID (RFC 5322, section 3.6.4) of the notice that brings the link of that id."""
    return f"<{link_id}.notice@{hostname}>"


def link_of(message_id: str) -> str:
    """The id of the link that the notice with this Message-ID brought; empty where it is no notice of that kind."""
    found = _NOTICE.fullmatch(message_id)
    return found[1] if found is not None else ""
