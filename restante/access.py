"""How a recipient shows who they are: which way an access code travels, and what a notice leads with.

Both are chosen by rule and kept with the message, so that a later notice follows the rule that held it.
"""

from __future__ import annotations

from enum import StrEnum


class CodeWay(StrEnum):
    """By which way the access code reaches the recipient.

    Where a telephone number or a phrase is asked for and none is known, the code goes to the sender.
    """

    SENDER = "sender"  # to the sender, who passes it on
    SMS = "sms"  # to the recipient's telephone
    PHRASE = "phrase"  # nothing travels: a phrase was agreed beforehand
    ENROLLED = "enrolled"  # no code: the recipient signs in; chosen by enrolment, never by a rule


class Proof(StrEnum):
    """How whoever opened a message showed that it is for them."""

    NUMBER = "number"  # the number of the notice: they read the mailbox
    CODE = "code"  # an access code or phrase, which travelled another way
    ENROLLED = "enrolled"  # signed in with what they had set before


class NoticeForm(StrEnum):
    """What a notice leads with."""

    LINK = "link"  # the one-time link
    NUMBER = "number"  # no address at all: a number for the portal that the recipient knows
