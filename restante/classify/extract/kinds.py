"""What a file is, by its content first and its name after that.  A polyglot is several things at once."""

from __future__ import annotations

import re

HEAD = 4096
TAIL = 66_000  # the end record of a zip archive with the longest comment (APPNOTE.TXT, section 4.3.16)

# Kinds that the extractor opens, by the bytes at their beginning.
_READ = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08PK", "zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x1f\x8b", "gz"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x78\x9f\x3e\x22", "tnef"),
    (b"\xff\xd8\xff", "image"),
    (b"\x89PNG\r\n\x1a\n", "image"),
    (b"GIF8", "image"),
    (b"II*\x00", "image"),
    (b"MM\x00*", "image"),
    (b"SQLite format 3\x00", "database"),
)
# Containers and encrypted things that it does not open: the finding names them.
_SEALED = (
    (b"Rar!\x1a\x07", "RAR archive"),
    (b"-----BEGIN PGP MESSAGE", "encrypted message"),
    (b"MSCF", "Cabinet archive"),
    (b"\x28\xb5\x2f\xfd", "Zstandard archive"),
    (b"\x04\x22\x4d\x18", "LZ4 archive"),
    (b"\x1f\x9d", "compress archive"),
    (b"\x1f\xa0", "compress archive"),
    (b"LZIP", "lzip archive"),
    (b"!<arch>\n", "ar archive"),
    (b"070701", "cpio archive"),
    (b"070707", "cpio archive"),
    (b"\x60\xea", "ARJ archive"),
    (b"xar!", "xar archive"),
    (b"MSWIM\x00", "Windows image"),
    (b"KDMV", "disk image"),
    (b"QFI\xfb", "disk image"),
    (b"conectix", "disk image"),
    (b"vhdxfile", "disk image"),
    (b"LUKS\xba\xbe", "encrypted disk"),
    (b"Salted__", "encrypted file"),
    (b"age-encryption.org/", "encrypted file"),
    (b"ITSF", "compiled help"),
    (b"!BDN", "Outlook data file"),
    (b"\x03\xd9\xa2\x9a", "password database"),
    (b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d", "OneNote file"),
    (b"\x00\x01\x00\x00Standard", "Access database"),
)
# Formats that carry no text but in their metadata: programs, sound, film, fonts.
_MUTE = (
    b"MZ",
    b"\x7fELF",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
    b"\x00asm",
    b"\x00\x01\x00\x00\x00",
    b"OTTO",
    b"ttcf",
    b"wOFF",
    b"wOF2",
    b"ID3",
    b"OggS",
    b"fLaC",
    b"RIFF",
    b"FORM",
    b"MThd",
    b"\x1aE\xdf\xa3",
    b"FLV\x01",
    b"\x00\x00\x01\xba",
    b"\x00\x00\x01\xb3",
    b"0&\xb2u\x8ef\xcf\x11",
    b"BM",
    b"8BPS",
    b"\x00\x00\x01\x00",
    b"\x00\x00\x02\x00",
    b"\xff\x0a",
    b"\x00\x00\x00\x0cJXL ",
    b"\x00\x00\x00\x0cjP  ",
    b"\xd7\xcd\xc6\x9a",
)
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\x1b\x08"))
_MESSAGE = re.compile(rb"\A(?:From [^\n]*\n)?(?:[A-Za-z][A-Za-z0-9-]{1,40}:[^\n]*\n(?:[ \t][^\n]*\n)*){1,200}")
_MESSAGE_FIELD = re.compile(rb"(?im)^(?:mime-version|content-type|received|message-id|content-transfer-encoding):")
_MARKUP = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*<(?:!|\?|[A-Za-z])")
_ENDED = re.compile(rb"%%EOF|startxref")


def looks_like_text(sample: bytes) -> bool:
    """Whether ``sample`` is text in some charset that keeps ASCII, or begins with the mark of one that does not."""
    if sample.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        return True
    return bool(sample.strip()) and len(sample.translate(None, _CONTROL)) == len(sample)


def kinds(head: bytes, tail: bytes, name: str = "") -> list[str]:
    """All that a file with this beginning and end may be read as, the likeliest first; empty when unknown.

    ``tail`` is its last ``TAIL`` bytes, or all of it.  ``name`` decides only where the content does not.
    """
    found = [kind for magic, kind in _READ if head.startswith(magic)]
    if b"%PDF-" in head[:1100]:
        found.append("pdf")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:5].lower() == b"{\\rtf" or b"{\\rtf1" in head[:512]:
        found.append("rtf")
    if head[257:262] == b"ustar" or _is_old_tar(head):
        found.append("tar")
    # Behind anything else too, with bytes after it; but the last file of an archive that is not packed is its own.
    end = tail.rfind(b"PK\x05\x06")
    if end >= 0 and (not found or found[0] in {"image", "pdf", "rtf"} or _ends_at(tail, end)):
        found.append("zip")
    if "pdf" not in found and _ENDED.search(tail[-2048:]) and b"%PDF-" in head:
        found.append("pdf")
    if _is_message(head):
        found.append("message")
    if not found and head[4:8] == b"ftyp":
        found.append("mute")
    if not found and head.startswith(_MUTE):
        found.append("mute")
    return list(dict.fromkeys(found)) or _by_name(name)


def _ends_at(tail: bytes, end: int) -> bool:
    """Whether the end record of a zip archive at ``end``, with its comment, is the end of the file."""
    return end + 22 + int.from_bytes(tail[end + 20 : end + 22], "little") == len(tail)


def _by_name(name: str) -> list[str]:
    suffix = name.lower().rpartition(".")[2]
    if suffix in {"eml", "mht", "mhtml"}:
        return ["message"]
    return ["lzma"] if suffix in {"lzma", "tlz"} else []


def sealed(head: bytes) -> str:
    """What a file is that nobody opens here; empty for all others."""
    found = next((what for magic, what in _SEALED if head.startswith(magic)), "")
    return "ISO image" if not found and head[0x8001:0x8006] == b"CD001" else found


def is_markup(head: bytes) -> bool:
    """Whether a text is HTML, XML or the like."""
    return bool(_MARKUP.match(head))


def _is_message(head: bytes) -> bool:
    fields = _MESSAGE.match(head)
    return fields is not None and _MESSAGE_FIELD.search(fields.group()) is not None


def _is_old_tar(head: bytes) -> bool:
    """A tar archive of before POSIX has nothing but its checksum to be known by."""
    if len(head) < 512 or not head[0]:
        return False
    field = head[148:156].strip(b" \0")
    if not field or not all(48 <= digit < 56 for digit in field):
        return False
    return sum(head[:148]) + 8 * 32 + sum(head[156:512]) == int(field, 8)
