"""Files for tests that no library here writes: compound files ([MS-CFB]) with old Office documents, and TNEF."""

from __future__ import annotations

import struct

_FREE, _END, _FAT, _NONE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF
_CUTOFF = 4096  # streams shorter than this would lie in the mini stream: they are padded


def compound(streams: dict[str, bytes]) -> bytes:
    """A compound file with ``streams``, whose names are paths; each is padded to 4 KiB and whole sectors."""
    entries: list[tuple[str, int, list[int], bytes | None]] = [("Root Entry", 5, [], None)]
    folders = {"": 0}
    for path, data in streams.items():
        parent = ""
        for step in path.split("/")[:-1]:
            inner = f"{parent}/{step}" if parent else step
            if inner not in folders:
                folders[inner] = len(entries)
                entries[folders[parent]][2].append(len(entries))
                entries.append((step, 1, [], None))
            parent = inner
        entries[folders[parent]][2].append(len(entries))
        padded = data.ljust(_CUTOFF, b"\0")
        entries.append((path.rpartition("/")[2], 2, [], padded + b"\0" * (-len(padded) % 512)))
    sectors: list[bytes] = []
    fat: list[int] = []

    def place(data: bytes) -> int:
        start = len(sectors)
        pieces = [data[at : at + 512] for at in range(0, len(data), 512)]
        sectors.extend(pieces)
        fat.extend([*range(start + 1, start + len(pieces)), _END])
        return start

    siblings = {}
    for _, _, children, _ in entries:
        ordered = sorted(children, key=lambda index: (len(entries[index][0]), entries[index][0].upper()))
        siblings.update(dict(zip(ordered, [*ordered[1:], _NONE], strict=False)))
    directory = b""
    for index, (name, kind, children, content) in enumerate(entries):
        encoded = (name + "\0").encode("utf-16-le")
        first = min(children, key=lambda one: (len(entries[one][0]), entries[one][0].upper()), default=_NONE)
        start = place(content) if content is not None else (_END if kind == 5 else 0)
        directory += encoded.ljust(64, b"\0") + struct.pack("<HBB", len(encoded), kind, 1)
        directory += struct.pack("<III", _NONE, siblings.get(index, _NONE), first) + b"\0" * 36
        directory += struct.pack("<IQ", start, len(content or b""))
    directory_start = place(directory + b"\0" * (-len(directory) % 512))
    count = 1
    while (len(sectors) + count) > count * 128:
        count += 1
    fat_start = len(sectors)
    fat += [_FAT] * count
    table = struct.pack(f"<{len(fat)}I", *fat).ljust(count * 512, b"\xff")
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 16 + struct.pack("<HHHHH6x", 62, 3, 0xFFFE, 9, 6)
    header += struct.pack("<IIIIIIIII", 0, count, directory_start, 0, _CUTOFF, _END, 0, _END, 0)
    header += struct.pack("<109I", *([*range(fat_start, fat_start + count)] + [_FREE] * (109 - count)))
    return header + b"".join(sectors) + table


def word(text: str) -> bytes:
    """A Word 97 document of one piece in 8-bit characters, one in UTF-16."""
    half = len(text) // 2
    first, second = text[:half].encode("cp1252"), text[half:].encode("utf-16-le")
    document = bytearray(2048)
    document[0:2], document[11] = b"\xec\xa5", 2
    plc = struct.pack("<III", 0, half, len(text))
    plc += struct.pack("<HIH", 0, (2048 * 2) | 0x40000000, 0) + struct.pack("<HIH", 0, 2048 + len(first), 0)
    clx = b"\x02" + struct.pack("<I", len(plc)) + plc
    document[0x01A2:0x01AA] = struct.pack("<II", 0, len(clx))
    return compound({"WordDocument": bytes(document) + first + second, "1Table": clx})


def slides(text: str) -> bytes:
    """A PowerPoint 97 document: a container with a text in 8-bit characters and one in UTF-16."""
    half = len(text) // 2
    atoms = b"".join(
        struct.pack("<HHI", 0, kind, len(data)) + data
        for kind, data in ((0x0FA8, b"first: " + text.encode("latin-1")), (0x0FA0, text[:half].encode("utf-16-le")))
    )
    return compound({"PowerPoint Document": struct.pack("<HHI", 0x0F, 0x03E8, len(atoms)) + atoms})


def workbook(text: str, number: float) -> bytes:
    """An Excel 97 workbook of one sheet with a text and a number."""

    def record(kind: int, data: bytes) -> bytes:
        return struct.pack("<HH", kind, len(data)) + data

    begin = struct.pack("<HHHHII", 0x0600, 0x0005, 0x0DBB, 0x07CC, 0, 0)
    sheet = record(0x0809, struct.pack("<HHHHII", 0x0600, 0x0010, 0x0DBB, 0x07CC, 0, 0))
    sheet += record(0x0204, struct.pack("<HHHHB", 0, 0, 0, len(text), 0) + text.encode("latin-1"))
    sheet += record(0x0203, struct.pack("<HHHd", 1, 0, 0, number)) + record(0x000A, b"")
    bound_size = 4 + 6 + 2 + 1
    head = record(0x0809, begin)
    offset = len(head) + bound_size + 4
    head += record(0x0085, struct.pack("<IHBB", offset, 0, 1, 0) + b"S") + record(0x000A, b"")
    return compound({"Workbook": head + sheet})


def outlook(subject: str, body: str, name: str, attachment: bytes) -> bytes:
    """An Outlook message with an attachment.  Padding of short streams stays: readers strip zero characters."""
    return compound(
        {
            "__substg1.0_0037001F": subject.encode("utf-16-le"),
            "__substg1.0_1000001F": body.encode("utf-16-le"),
            "__properties_version1.0": b"\0" * 32,
            "__attach_version1.0_#00000000/__substg1.0_3707001F": name.encode("utf-16-le"),
            "__attach_version1.0_#00000000/__substg1.0_37010102": attachment,
        }
    )


def winmail(body: str, name: str, attachment: bytes) -> bytes:
    """A winmail.dat with a body property and an attachment."""

    def attribute(level: int, number: int, data: bytes) -> bytes:
        return struct.pack("<BII", level, number, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)

    text = (body + "\0").encode("utf-16-le")
    text += b"\0" * (-len(text) % 4)
    properties = struct.pack("<I", 2) + struct.pack("<HHI", 0x0003, 0x0E17, 1)
    properties += struct.pack("<HHII", 0x001F, 0x1000, 1, 2 * len(body) + 2) + text
    return (
        struct.pack("<IH", 0x223E9F78, 1)
        + attribute(1, 0x00069007, struct.pack("<II", 1252, 0))
        + attribute(1, 0x00069003, properties)
        + attribute(2, 0x00069002, b"\0" * 14)
        + attribute(2, 0x0006800F, attachment)
        + attribute(2, 0x00018010, name.encode() + b"\0")
    )
