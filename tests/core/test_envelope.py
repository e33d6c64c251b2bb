"""Addresses: which are plain mailboxes, which an MTA may rewrite, and what is refused outright."""

import pytest

from restante.envelope import Address, BadAddress


@pytest.mark.parametrize(
    "path",
    [
        "<bob@x.example>",
        "bob@x.example",
        "<Bob.O'Neil+tag@X.Example.>",
        '<"b o b"@x.example>',
        '<"b\\"ob"@x.example>',
        "<b..ob.@x.example>",
        "<bob@[192.0.2.1]>",
        "<bob@[IPv6:2001:db8::1]>",
        "<postmaster>",
        "<üser@bücher.example>",
        "<bob%y.example@x.example>",
    ],
)
def test_plain_mailboxes(path: str) -> None:
    assert Address.parse(path).is_mailbox


@pytest.mark.parametrize(
    "path",
    [
        "<@relay.example:bob@x.example>",
        "<@a,@b:bob@x.example>",
        "<<bob@x.example>>",
        "<group:bob@x.example;>",
        "<bob@x.example>,<eve@x.example>",
        "<(comment)bob@x.example>",
        "<bob@x.example (comment)>",
        "<bob @x.example>",
        "<b\\ob@x.example>",
        '<"bob@x.example>',
        "<bob@x..;example>",
        "<bob@>",
        "<@x.example>",
        "<>",
    ],
)
def test_what_is_no_plain_mailbox(path: str) -> None:
    assert not Address.parse(path).is_mailbox


@pytest.mark.parametrize("raw", [b"<b\xffb@x.example>", b"<b\0b@x.example>", b"<b\rb@x.example>", b"<b@\xc3\xbc..-.x>"])
def test_what_no_mta_could_deliver_to(raw: bytes) -> None:
    with pytest.raises(BadAddress):
        Address.parse(raw)
