"""Sealing: what comes out is what went in, from any offset, and nothing that was tampered with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.vault import (
    CHUNK,
    SEALED_CHUNK,
    CannotOpen,
    DataKey,
    Opener,
    Sealer,
    chunk_count,
    generate_keypair,
    seal_stream,
)

SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7)


def opened(key: DataKey, chunks: list[bytes]) -> bytes:
    return b"".join(key.open_chunk(one, at, last=at == len(chunks) - 1) for at, one in enumerate(chunks))


@pytest.mark.parametrize("size", SIZES)
def test_a_stream_of_any_size_comes_back(size: int) -> None:
    key = DataKey.fresh("blob")
    plain = bytes(at % 251 for at in range(size))
    chunks = list(seal_stream(key, [plain]))
    assert len(chunks) == chunk_count(size)
    assert opened(key, chunks) == plain


@given(st.lists(st.binary(max_size=CHUNK // 2), max_size=12))
def test_how_the_stream_was_cut_does_not_matter(pieces: list[bytes]) -> None:
    key = DataKey.fresh("blob")
    chunks = list(seal_stream(key, pieces))
    assert all(len(chunk) == SEALED_CHUNK for chunk in chunks[:-1])
    assert opened(key, chunks) == b"".join(pieces)


def test_chunks_cannot_be_changed_moved_dropped_or_taken_from_another_blob() -> None:
    key = DataKey.fresh("blob")
    first, second, third = seal_stream(key, [bytes(2 * CHUNK + 5)])
    other = DataKey("another", key.secret)
    flipped = bytes([first[0] ^ 1]) + first[1:]
    for sealed, index, last, by in (
        (flipped, 0, False, key),
        (second, 0, False, key),
        (second, 1, True, key),
        (third, 2, False, key),
        (first, 0, False, other),
        (first[:-1], 0, False, key),
        (b"", 0, False, key),
    ):
        with pytest.raises(CannotOpen):
            by.open_chunk(sealed, index, last=last)


def test_a_data_key_opens_only_with_its_private_key_and_for_its_blob() -> None:
    private, public = generate_keypair()
    key = DataKey.fresh("blob")
    wrapped = Sealer("k", public).wrap(key)
    assert Opener(private).unwrap("blob", wrapped) == key
    for opener, blob, sealed in (
        (Opener(generate_keypair()[0]), "blob", wrapped),
        (Opener(private), "another", wrapped),
        (Opener(private), "blob", None),
        (Opener(private), "blob", wrapped[:-1]),
    ):
        with pytest.raises(CannotOpen):
            opener.unwrap(blob, sealed)


def test_a_note_is_bound_to_its_blob_and_purpose() -> None:
    key = DataKey.fresh("blob")
    note = key.seal_note(b"subject", "summary")
    assert key.open_note(note, "summary") == b"subject"
    for by, purpose, sealed in (
        (key, "findings", note),
        (DataKey("another", key.secret), "summary", note),
        (key, "summary", note[:10]),
    ):
        with pytest.raises(CannotOpen):
            by.open_note(sealed, purpose)


def test_no_repr_shows_a_secret() -> None:
    key = DataKey.fresh("blob")
    assert repr(key) == "DataKey('blob')"
