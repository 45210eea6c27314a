#!/usr/bin/env python3
"""Reads an ark repository, with nothing but format/SPEC.md to go by.

It shares no code with ark and exists to prove that the specification is enough to restore a backup. Section numbers
are those of SPEC.md. It reads a repository in a folder and never writes.

    read_ark.py FOLDER --key-file FILE list
    read_ark.py FOLDER --passphrase-file FILE dump BACKUP [--dataset objects]
    read_ark.py FOLDER --key-file FILE check

`list` and `dump` print a line of JSON for each backup or object; BACKUP is a name or an id. `check` reads every
object of the repository.
"""

import argparse
import json
import pathlib
import re
import struct
import sys

import argon2.low_level
import blake3
import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# §14, §18
VERSION = 1
CHUNK_MAX = 4 << 20
FRAME_CHUNKS_MAX = 4096
FRAME_RAW_MAX = CHUNK_MAX + 2 + 4 * FRAME_CHUNKS_MAX
FRAME_SEALED_MAX = FRAME_RAW_MAX + 45
PACK_FRAMES_MAX = 65535
PACK_MAX = 256 << 20
KEY_MAX = VALUE_MAX = 4096
NODE_ENTRIES_MAX = 128
LEVEL_MAX = 40
DOCUMENT_MAX = 256 << 20
SMALL_MAX = 64 << 10

# §4.3
SLOT, DATA_KEY, STUB, BODY, PIN, HEARTBEAT, COMMIT, FENCE, TOMBSTONE, UNDO, SEGMENT, TRAILER = range(1, 13)
DATA_FRAME, TREE_FRAME, RESTORE, VERIFY, CLAIM, RESERVE = range(13, 19)


class Damaged(Exception):
    """Bytes that are not what the specification says."""


def check(condition, what):
    if not condition:
        raise Damaged(what)


def keyed(key, data):
    return blake3.blake3(data, key=key).digest()


def derive(key, context, data):
    return keyed(key, context.encode() + b"\0" + data)


def padme(length):
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    bits = max(exponent - exponent.bit_length(), 0)
    return -(-length // (1 << bits)) << bits


class Reader:
    """A cursor over bytes; little-endian."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        check(self.at + count <= len(self.data), "it ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, width):
        return int.from_bytes(self.take(width), "little")

    def rest(self):
        return self.take(len(self.data) - self.at)

    def end(self):
        check(self.at == len(self.data), "bytes follow its end")

    def leb128(self):  # §2
        value = 0
        for i in range(10):
            byte = self.number(1)
            check(i < 9 or byte <= 1, "a varint exceeds 64 bits")
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                check(byte or not i, "a varint is not in its shortest form")
                return value
        raise Damaged("a varint exceeds 64 bits")

    # §7.3: bincode
    def uint(self, bits=64):
        first = self.number(1)
        if first < 251:
            return first
        width = {251: 2, 252: 4, 253: 8}.get(first)
        check(width and width * 8 <= bits, "a number is too wide")
        return self.number(width)

    def int(self):
        value = self.uint()
        return value >> 1 if value & 1 == 0 else -(value >> 1) - 1

    def bytes(self):
        return self.take(self.uint())

    def string(self):
        return self.bytes().decode()

    def list(self, item):
        return [item() for _ in range(self.uint())]

    def option(self, item):
        some = self.number(1)
        check(some <= 1, "an option is neither 0 nor 1")
        return item() if some else None

    def enum(self, *names):
        number = self.uint(32)
        check(number < len(names), "an unknown variant")
        return names[number]

    def id(self):
        return self.take(16).hex()

    def key(self):
        return self.take(32)


# §8: documents. Each is a function from a cursor to a dictionary.
def record(**fields):
    return lambda c: {name: read(c) for name, read in fields.items()}


U8 = lambda c: c.number(1)
U16 = lambda c: c.uint(16)
U32 = lambda c: c.uint(32)
U64 = lambda c: c.uint(64)
I64 = Reader.int
ID, KEY, TEXT, BYTES = Reader.id, Reader.key, Reader.string, Reader.bytes
BOOL = lambda c: bool(c.number(1))


def vec(item):
    return lambda c: c.list(lambda: item(c))


def opt(item):
    return lambda c: c.option(lambda: item(c))


def enum(*names):
    return lambda c: c.enum(*names)


PACK_NAME = record(session=ID, sequence=U32, **{"class": enum("data", "meta")})
SEGMENT_REF = record(session=ID, number=U32, size=U64, entries=U64)
ROOT = record(id=ID, level=U8, entries=U64)
STATS = record(**{
    name: U64
    for name in (
        "data_bytes tree_bytes trailer_bytes index_bytes padding_bytes control_bytes new_chunks reused_chunks packs"
    ).split()
})
ROW = record(
    id=ID,
    epoch=U64,
    name=TEXT,
    cluster=record(id=TEXT, name=TEXT),
    created=I64,
    status=enum("Completed", "PartiallyFailed", "Failed"),
    counts=record(items=U64, bytes=U64, failed=U64),
    stats=STATS,
    expires=opt(I64),
    datasets=vec(lambda c: (TEXT(c), ROOT(c))),
    segments=vec(SEGMENT_REF),
    previous=opt(ID),
    manifest_size=U64,
)
KEYS = ["id_data", "id_tree", "chunker", "index", "tree", "data"]
DOCUMENTS = {
    SLOT: record(role=enum("full", "backup"), created=I64, label=TEXT, **{k: KEY for k in KEYS}, signing=opt(KEY)),
    DATA_KEY: record(number=U16, key=KEY),
    STUB: record(
        number=U64, parent_hash=KEY, body_key=TEXT, body_hash=KEY, body_size=U64, nonce=ID, created=I64
    ),
    BODY: record(
        number=U64,
        segments=vec(SEGMENT_REF),
        condemned=vec(record(pack=PACK_NAME, epoch=U64, size=U64)),
        dropped=vec(PACK_NAME),
        retired=vec(record(epoch=U64, session=ID)),
        manifests=vec(ROW),
        watermark=U64,
        features=vec(TEXT),
    ),
    PIN: record(activity=enum("backup", "restore", "verify", "prune"), started=I64, host=TEXT, process=TEXT, view_hash=KEY),
    HEARTBEAT: record(at=I64),
    COMMIT: record(row=ROW, finished=I64, view=U64, view_hash=KEY, tool=TEXT, document=BYTES, log=BYTES, repairs=opt(ID)),
    FENCE: record(by=ID, at=I64),
    TOMBSTONE: record(session=ID, at=I64, by=TEXT),
    UNDO: record(session=ID, at=I64, by=TEXT),
    RESTORE: record(name=TEXT, backup=TEXT, document=BYTES, report=BYTES, log=BYTES),
    VERIFY: record(
        at=I64,
        read_data=BOOL,
        epoch=U64,
        objects=U64,
        bytes=U64,
        damage=vec(TEXT),
        packs=vec(record(pack=PACK_NAME, at=I64, damaged=BOOL)),
        replaces=vec(ID),
    ),
    CLAIM: record(session=ID, epoch=U64, name=TEXT, cluster=TEXT),
    RESERVE: record(filling=BYTES),
}
SIGNED = record(payload=BYTES, signature=BYTES)


def document(kind, data):
    c = Reader(data)
    value = DOCUMENTS[kind](c)
    c.end()
    return value


def decompress(data, length):
    """Exactly one zstd frame of exactly this length (§7.1, §9)."""
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        plain = decompressor.decompress(data)
    except zstandard.ZstdError as error:
        raise Damaged(f"it does not decompress: {error}") from error
    check(decompressor.eof and not decompressor.unused_data, "it is not one zstd frame")
    check(len(plain) == length, "its length is not what it says")
    return plain


# §6.2
def raw_key(data):
    if len(data) == 32:
        return data
    text = data.decode().strip()
    if len(text) == 64:
        return bytes.fromhex(text)
    text = re.sub(r"[\s-]", "", text).upper().replace("O", "0").replace("I", "1").replace("L", "1")
    check(text.startswith("ARK0") and len(text) == 60, "it is not a key")
    bits = 0
    for character in text[4:]:
        digit = "0123456789ABCDEFGHJKMNPQRSTVWXYZ".find(character)
        check(digit >= 0, "a character that recovery keys do not have")
        bits = bits << 5 | digit
    data = bits.to_bytes(35, "big")
    check(blake3.blake3(b"ark 0 recovery key" + data[:32]).digest()[:3] == data[32:], "a typing error")
    return data[:32]


# §3
HEX16, HEX8, SID = "([0-9a-f]{16})", "([0-9a-f]{8})", "([0-9a-f]{32})"
NAMES = [
    (None, "ark.json"),
    (SLOT, f"keys/{HEX16}"),
    (DATA_KEY, "keys/data/([0-9a-f]{4})"),
    (STUB, f"epochs/{HEX16}"),
    (BODY, f"index/epoch-{HEX16}-{SID}"),
    (SEGMENT, f"index/{SID}-{HEX8}"),
    (PIN, f"sessions/{HEX16}-{SID}"),
    (HEARTBEAT, f"sessions/{HEX16}-{SID}\\.hb{HEX8}"),
    (COMMIT, f"manifests/{HEX16}-{SID}"),
    (TOMBSTONE, f"forgotten/{SID}(?:\\.(?!00000000){HEX8})?"),
    (UNDO, f"forgotten/{SID}(?:\\.(?!00000000){HEX8})?\\.undo"),
    (CLAIM, f"names/{SID}/{HEX8}"),
    (TRAILER, f"packs/(data|meta)/([0-9a-f]{{2}})/{SID}-{HEX8}"),
    (RESTORE, f"restores/{SID}-{HEX8}"),
    (VERIFY, f"verify/{SID}"),
    (RESERVE, "reserve"),
]


def parse_name(key):
    """The kind of an object and the groups in its name; None if it is not ark's."""
    for kind, pattern in NAMES:
        if match := re.fullmatch(pattern, key):
            if kind == TRAILER and pack_name(match[1], match[3], int(match[4], 16)) != key:
                return None
            return kind, match.groups()
    return None


def pack_name(kind, session, sequence):
    stem = f"{session}-{sequence:08x}"
    return f"packs/{kind}/{blake3.blake3(stem.encode()).digest()[0]:02x}/{stem}"


class Repository:
    def __init__(self, folder, key=None, passphrase=None):
        self.folder = pathlib.Path(folder)
        settings = self.get("ark.json", SMALL_MAX)
        text, mac = self.split_settings(settings)
        self.settings = json.loads(text)
        check(self.settings["magic"] == "ark repository", "it is not an ark repository")
        check(self.settings["version"] == VERSION, f"unknown version {self.settings['version']}")
        check(self.settings["ids"] == "blake3-128", "unknown kind of ids")
        self.cipher = {"aes-256-gcm": AESGCM, "chacha20-poly1305": ChaCha20Poly1305}[self.settings["cipher"]]
        self.id = bytes.fromhex(self.settings["id"])
        self.keys = self.unlock(key, passphrase)
        expected = keyed(derive(self.keys["index"], "ark 0 settings mac", b""), text)
        check(mac == expected, "ark.json: its MAC is wrong")
        unknown = self.settings["features"]["read"]
        check(not unknown, f"unknown features {unknown}")
        self.public_key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.settings["public_key"]))
        self.data_keys = {}
        for name in self.list("keys/data/"):
            if found := parse_name(name):
                number = int(found[1][0], 16)
                wrapped = self.document(DATA_KEY, name, key=self.keys["data"])
                check(wrapped["number"] == number, f"{name}: another number")
                self.data_keys[number] = wrapped["key"]
        self.cache = {}

    # The store.
    def get(self, name, limit=DOCUMENT_MAX):
        path = self.folder / name
        check(path.stat().st_size <= limit, f"{name}: it is too large")
        return path.read_bytes()

    def list(self, prefix=""):
        names = (path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        return sorted(name for name in names if name.startswith(prefix))

    # §5
    @staticmethod
    def split_settings(data):
        check(data.startswith(b'{"settings":') and data.endswith(b'"}\n'), "ark.json: it is not settings")
        body, mac = data[12:-3][:-64], data[12:-3][-64:]
        check(body.endswith(b',"mac":"') and re.fullmatch(rb"[0-9a-f]{64}", mac), "ark.json: it has no MAC")
        return body[:-8], bytes.fromhex(mac.decode())

    # §6.1
    def unlock(self, key, passphrase):
        wanted = 1 if key else 2
        for name in self.list("keys/"):
            if (parse_name(name) or [None])[0] != SLOT:
                continue
            data = self.get(name, SMALL_MAX)
            check(data[:5] == b"ARK0\x01" and data[6:8] == b"\0\0" and data[20:24] == b"\0" * 4, f"{name}: not a slot")
            if data[5] != wanted:
                continue
            memory, passes, lanes = struct.unpack("<III", data[8:20])
            salt = data[24:56]
            if wanted == 1:
                check((memory, passes, lanes) == (0, 0, 0), f"{name}: a raw key slot with parameters")
                wrapping = derive(key, "ark 0 raw key slot", salt)
            else:
                sane = 8 <= memory <= 2 << 20 and 1 <= passes <= 64 and 1 <= lanes <= 64 and memory >= 8 * lanes
                check(sane, f"{name}: its parameters are out of bounds")
                wrapping = argon2.low_level.hash_secret_raw(
                    passphrase, salt, passes, memory, lanes, 32, argon2.low_level.Type.ID, 0x13
                )
            try:
                plain = self.open(SLOT, wrapping, data[56:-32], name.encode(), data[:56])
            except InvalidTag:
                continue
            keys = document(SLOT, plain)
            check(self.slot_mac(keys, name, data) == data[-32:], f"{name}: its MAC is wrong")
            return keys
        raise SystemExit("no slot opens with this key or passphrase")

    @staticmethod
    def slot_mac(keys, name, data):
        key = derive(keys["index"], "ark 0 slot mac", b"")
        return keyed(key, struct.pack("<I", len(name)) + name.encode() + data[:-32])

    # §4.3
    def open(self, kind, key, sealed, *parts, data_key=0):
        check(len(sealed) >= 40, "a sealed unit is too short")
        bound = b"ark\0seal" + self.id + struct.pack("<BBH", kind, VERSION, data_key)
        for part in parts:
            bound += struct.pack("<I", len(part)) + part
        return self.cipher(derive(key, "ark 0 seal", sealed[:24])).decrypt(bytes(12), sealed[24:], bound)

    # §7.1
    def document(self, kind, name, data=None, key=None):
        data = self.get(name) if data is None else data
        try:
            return self.envelope(kind, name, data, key or self.keys["index"])
        except InvalidTag:
            raise Damaged(f"{name}: it fails authentication") from None

    def envelope(self, kind, name, data, key):
        check(data[:4] == b"ARK0" and data[4:5] == bytes([kind]), f"{name}: another kind of object")
        check(data[6:8] == b"\0\0", f"{name}: unknown schema")
        body = self.open(kind, key, data[8:], name.encode(), data[:8])
        if data[5] == 2:
            length = int.from_bytes(body[:4], "little")
            check(len(body) >= 4 and length <= DOCUMENT_MAX, f"{name}: its length")
            body = decompress(body[4:], length)
        else:
            check(data[5] == 1, f"{name}: unknown encoding")
        if kind not in (STUB, TOMBSTONE, UNDO):
            return document(kind, body)
        c = Reader(body)
        signed = SIGNED(c)
        c.end()
        message = b"ark\0sign" + self.id + bytes([kind]) + struct.pack("<I", len(name)) + name.encode()
        try:
            self.public_key.verify(signed["signature"], message + signed["payload"])
        except InvalidSignature:
            raise Damaged(f"{name}: its signature is not valid") from None
        return document(kind, signed["payload"])

    # §15.1
    def head(self):
        name = self.list("epochs/")[0]
        number = 2**64 - 1 - int(name[7:], 16)
        stub = self.document(STUB, name)
        check(stub["number"] == number, f"{name}: another number")
        data = self.get(stub["body_key"])
        check(len(data) == stub["body_size"], f"{stub['body_key']}: its size")
        check(blake3.blake3(data).digest() == stub["body_hash"], f"{stub['body_key']}: its hash")
        body = self.document(BODY, stub["body_key"], data)
        check(body["number"] == number, f"{stub['body_key']}: another number")
        check(not body["features"], f"unknown features {body['features']}")
        return body

    # §15.2
    def backups(self):
        head = self.head()
        listed = {row["id"]: row for row in head["manifests"]}
        retired = {row["session"] for row in head["retired"]}
        found, rows = set(), []
        for name in self.list("manifests/"):
            parsed = parse_name(name)
            if not parsed:
                continue
            epoch, sid = int(parsed[1][0], 16), parsed[1][1]
            if sid not in listed and (epoch < head["watermark"] or sid in retired):
                continue
            data = self.get(name)
            if data[4] == FENCE and sid not in listed:
                self.document(FENCE, name, data)
                continue
            row = self.document(COMMIT, name, data)["row"]
            check((row["id"], row["epoch"]) == (sid, epoch), f"{name}: another backup's")
            found.add(sid)
            rows.append({**row, "manifest": name, "listed": sid in listed})
        for sid in listed.keys() - found:
            print(f"backup {listed[sid]['name']} is lost: its manifest is gone", file=sys.stderr)
        graves = {}
        for name in self.list("forgotten/"):
            if parsed := parse_name(name):
                self.document(parsed[0], name)
                number = int(parsed[1][1] or "0", 16)
                graves.setdefault(parsed[1][0], {}).setdefault(number, set()).add(parsed[0])
        for row in rows:
            stones = graves.get(row["id"])
            row["forgotten"] = bool(stones) and UNDO not in stones[max(stones)]
        return head, rows

    # §15.3, §11
    def load_index(self, head, rows):
        refs = head["segments"] + [ref for row in rows if not row["listed"] for ref in row["segments"]]
        self.index = {}
        for name in {f"index/{ref['session']}-{ref['number']:08x}" for ref in refs}:
            packs, frames, entries = self.segment(name, self.get(name, 2 << 30))
            for chunk, pack, frame, slot in entries:
                offset, stored, data_key, _ = frames[packs[pack][2] + frame]
                place = packs[pack][0], packs[pack][1], offset, stored, data_key, slot
                self.index.setdefault(chunk, []).append(place)

    def segment(self, name, data):
        header, sealed = data[:16], data[16:]
        check(header[:12] == b"ARKINDX0" + struct.pack("<HH", VERSION, 0) and len(header) == 16, f"{name}: its header")
        blocks, stream = int.from_bytes(header[12:], "little"), b""
        full = (64 << 10) + 40
        check(blocks and (blocks - 1) * full + 40 < len(sealed) <= blocks * full, f"{name}: its length")
        for number in range(blocks):
            block = sealed[number * full : (number + 1) * full]
            part = struct.pack("<I", number)
            stream += self.open(SEGMENT, self.keys["index"], block, name.encode(), header, part)
        c = Reader(stream)
        counts = c.number(8), c.number(4), c.number(4)
        check(16 + 24 * counts[0] + 40 * counts[1] + 12 * counts[2] <= len(stream), f"{name}: its tables")
        packs = []
        for _ in range(counts[1]):
            session, sequence, kind, zero, first, frames, size = struct.unpack("<16sIB3sIIQ", c.take(40))
            check(kind in (1, 2) and zero == b"\0\0\0" and size <= PACK_MAX, f"{name}: a pack row")
            check(first + frames <= counts[2] and frames <= PACK_FRAMES_MAX, f"{name}: a pack's frames")
            kind = "data" if kind == 1 else "meta"
            packs.append((pack_name(kind, session.hex(), sequence), kind, first, frames, size))
        frames = [struct.unpack("<IIHH", c.take(12)) for _ in range(counts[2])]
        check(all(f[1] <= FRAME_SEALED_MAX and f[3] <= FRAME_CHUNKS_MAX for f in frames), f"{name}: a frame row")
        entries = [struct.unpack("<16sIHH", c.take(24)) for _ in range(counts[0])]
        check(all(a < b for a, b in zip(entries, entries[1:])), f"{name}: its entries do not ascend")
        for _, pack, frame, slot in entries:
            check(pack < len(packs) and frame < packs[pack][3], f"{name}: an entry's frame")
            check(slot < frames[packs[pack][2] + frame][3], f"{name}: an entry's slot")
        check(len(stream) == padme(c.at) and not any(c.rest()), f"{name}: its padding")
        return packs, frames, entries

    # §9
    def frame(self, kind, data_key, sealed):
        if kind == "data":
            check(data_key in self.data_keys, f"keys/data/{data_key:04x}: it is missing, and a frame needs it")
            plain = self.open(DATA_FRAME, self.data_keys[data_key], sealed, data_key=data_key)
        else:
            plain = self.open(TREE_FRAME, self.keys["tree"], sealed)
        c = Reader(plain)
        codec, length = c.number(1), c.number(4)
        check(length <= FRAME_RAW_MAX, "a frame is too long")
        raw = c.rest()
        if codec == 255:
            check(length == 0 and not any(raw), "padding is not zero")
            return []
        check(codec in (0, 1), "an unknown codec")
        raw = decompress(raw, length) if codec == 1 else raw
        check(len(raw) == length, "a frame's length is not what it says")
        c = Reader(raw)
        count = c.number(2)
        check(1 <= count <= FRAME_CHUNKS_MAX, "a frame's count of chunks")
        lengths = [c.number(4) for _ in range(count)]
        check(sum(lengths) <= CHUNK_MAX, "a frame is too long")
        chunks = [c.take(length) for length in lengths]
        c.end()
        return chunks

    # §15.4
    def chunk(self, kind, chunk_id):
        problem = "it is in no index segment"
        for pack, pack_class, offset, stored, data_key, slot in self.index.get(chunk_id, []):
            try:
                if (pack, offset) not in self.cache:
                    with open(self.folder / pack, "rb") as file:
                        file.seek(offset)
                        sealed = file.read(stored)
                    if len(self.cache) > 64:
                        self.cache.clear()
                    self.cache[pack, offset] = self.frame(pack_class, data_key, sealed)
                chunk = self.cache[pack, offset][slot]
                if self.chunk_id(kind, chunk) == chunk_id:
                    return chunk
                problem = f"{pack}: another chunk"
            except (OSError, IndexError, InvalidTag, Damaged) as error:
                problem = f"{pack}: {error!r}"
        raise Damaged(f"chunk {chunk_id.hex()}: {problem}")

    def chunk_id(self, kind, chunk):
        return keyed(self.keys["id_data" if kind == "data" else "id_tree"], chunk)[:16]

    # §12.1
    def node(self, data):
        c = Reader(data)
        level, count = c.number(1), c.leb128()
        check(level <= LEVEL_MAX and 1 <= count <= NODE_ENTRIES_MAX, "a node's level or count")
        keys = []
        for _ in range(count):
            last = keys[-1] if keys else b""
            shared = c.leb128()
            check(shared <= len(last), "a key shares more than there is")
            rest = c.take(c.leb128())
            key = last[:shared] + rest
            check(not keys or key > last, "a node's keys do not ascend")
            check(len(key) <= KEY_MAX, "a key is too long")
            check(shared == len(last) or rest[0] != last[shared], "a shared prefix is not the longest")
            keys.append(key)
        if level:
            values = [(c.take(16), c.leb128()) for _ in keys]
            check(all(entries for _, entries in values), "an empty child")
        else:
            values = [self.value(c) for _ in keys]
        c.end()
        return level, list(zip(keys, values))

    @staticmethod
    def value(c):  # §12.2
        start, tag = c.at, c.number(1)
        if tag == 0:
            value = "inline", c.take(c.leb128())
        elif tag in (1, 2):
            count = c.number(1) if tag == 2 else 1
            check(tag == 1 or 2 <= count <= 32, "a list's count")
            value = "chunks", [(c.take(16), c.leb128()) for _ in range(count)]
            check(all(length <= CHUNK_MAX for _, length in value[1]), "a chunk is too long")
        else:
            check(tag == 3, "an unknown tag")
            value = "map", (c.take(16), c.number(1), c.leb128()), c.leb128()
            check(value[1][2] > 0, "an empty map")
        check(c.at - start <= VALUE_MAX, "a value is too long")
        return value

    def walk(self, root, after=None, last=None):
        chunk_id, level, entries = root
        found, items = self.node(self.chunk("tree", chunk_id))
        check(found == level, "a node of another level")
        check(after is None or items[0][0] > after, "a node's keys overlap with the one before")
        check(last is None or items[-1][0] == last, "a node's last key is not its parent's")
        seen = 0
        for key, value in items:
            if level:
                yield from self.walk((value[0], level - 1, value[1]), after, key)
                after, seen = key, seen + value[1]
            else:
                yield key, value
                seen += 1
        check(seen == entries, "a node has another count of entries")

    def content(self, value):
        if value[0] == "inline":
            return value[1]
        if value[0] == "chunks":
            chunks = [(self.chunk("data", chunk_id), length) for chunk_id, length in value[1]]
            check(all(len(chunk) == length for chunk, length in chunks), "a chunk of another length")
            return b"".join(chunk for chunk, _ in chunks)
        parts, at = [], 0
        for key, part in self.walk(value[1]):
            offset = int.from_bytes(key, "big")
            check(len(key) == 8 and offset >= at and part[0] == "chunks", "a map of chunks")
            parts += [bytes(offset - at), self.content(part)]
            at = offset + len(parts[-1])
        check(at <= value[2], "chunks beyond the end")
        return b"".join(parts) + bytes(value[2] - at)

    # §13.1
    def objects(self, root):
        for key, value in self.walk((bytes.fromhex(root["id"]), root["level"], root["entries"])):
            group, resource, rest = key.decode().split("\0")
            namespace, _, name = rest.rpartition("/")
            line = {"group": group, "resource": resource, "namespace": namespace, "name": name}
            yield {**line, "value": json.loads(self.content(value))}

    # §10
    def check_pack(self, name, parsed):
        data = self.get(name, PACK_MAX)
        kind, session, sequence = parsed[0], parsed[2], int(parsed[3], 16)
        header = b"ARKPACK0" + struct.pack("<H", VERSION) + bytes([1 if kind == "data" else 2, 0]) + struct.pack("<I", sequence)
        header += bytes.fromhex(session)
        check(data[:32] == header and data[-8:] == b"ARKPEND0", f"{name}: its header or footer")
        length = data[-12:-8]
        start = len(data) - 12 - int.from_bytes(length, "little")
        check(start >= 32, f"{name}: its trailer")
        c = Reader(self.open(TRAILER, self.keys["index"], data[start:-12], name.encode(), header, length))
        rows = [struct.unpack("<IHH", c.take(8)) for _ in range(c.number(4))]
        ids = [[c.take(16) for _ in range(row[2])] for row in rows]
        c.end()
        offset = 32
        for (stored, data_key, _), expected in zip(rows, ids):
            check((data_key == 0) == (kind == "meta"), f"{name}: a frame's data key")
            chunks = self.frame(kind, data_key, data[offset : offset + stored])
            found = [self.chunk_id(kind if kind == "data" else "tree", chunk) for chunk in chunks]
            check(found == expected, f"{name}: the frame at {offset} has other chunks")
            offset += stored
        check(offset == start, f"{name}: its parts do not add up")
        return sum(row[2] for row in rows)

    def check(self):
        """Reads every object."""
        head, rows = self.backups()
        self.load_index(head, rows)
        objects = chunks = 0
        for name in self.list():
            parsed = parse_name(name)
            if not parsed:
                print(f"{name}: it is not ark's", file=sys.stderr)
                continue
            objects += 1
            kind, groups = parsed
            if kind == TRAILER:
                chunks += self.check_pack(name, groups)
            elif kind == SEGMENT:
                self.segment(name, self.get(name))
            elif kind == SLOT:
                data = self.get(name)
                check(self.slot_mac(self.keys, name, data) == data[-32:], f"{name}: its MAC is wrong")
            elif kind is not None:
                data = self.get(name)
                kind = FENCE if kind == COMMIT and data[4] == FENCE else kind
                self.document(kind, name, data, self.keys["data"] if kind == DATA_KEY else None)
        entries = 0
        for row in rows:
            for _, root in row["datasets"]:
                for _ in self.objects(root):
                    entries += 1
        return {"objects": objects, "chunks": chunks, "backups": len(rows), "entries": entries}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    secret = parser.add_mutually_exclusive_group(required=True)
    secret.add_argument("--key-file", type=pathlib.Path)
    secret.add_argument("--passphrase-file", type=pathlib.Path)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list")
    verbs.add_parser("check")
    dump = verbs.add_parser("dump")
    dump.add_argument("backup")
    dump.add_argument("--dataset", default="objects")
    arguments = parser.parse_args()
    if arguments.key_file:
        repository = Repository(arguments.folder, key=raw_key(arguments.key_file.read_bytes()))
    else:
        passphrase = arguments.passphrase_file.read_bytes().rstrip(b"\r\n")
        repository = Repository(arguments.folder, passphrase=passphrase)
    if arguments.verb == "check":
        print(json.dumps(repository.check()))
        return
    head, rows = repository.backups()
    if arguments.verb == "list":
        for row in sorted(rows, key=lambda row: (row["created"], row["id"])):
            shown = {key: row[key] for key in ("id", "name", "created", "status", "counts", "forgotten")}
            print(json.dumps({**shown, "cluster": row["cluster"]["name"]}, ensure_ascii=False))
        return
    wanted = [row for row in rows if arguments.backup in (row["id"], row["name"])]
    wanted = [row for row in wanted if not row["forgotten"]] or wanted
    if not wanted:
        raise SystemExit(f"no backup {arguments.backup}")
    repository.load_index(head, rows)
    for line in repository.objects(dict(wanted[-1]["datasets"])[arguments.dataset]):
        print(json.dumps(line, ensure_ascii=False))


if __name__ == "__main__":
    try:
        main()
    except Damaged as damage:
        raise SystemExit(f"damaged: {damage}") from None
