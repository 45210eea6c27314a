#!/usr/bin/env python3
"""Checks the golden vectors of format/vectors against the specification, without ark's code.

Most vectors are covered by reading the repository beside them (read_ark.py): its two backups, between which the data key was
rotated, are compared with what they must hold. This adds what only a writer needs: the rule that cuts trees, names, numbers and
derived keys.

    check_vectors.py VECTORS_FOLDER
"""

import json
import pathlib
import struct
import sys

import blake3

from read_ark import Damaged, Reader, Repository, derive, document, keyed, padme, parse_name, raw_key

FOLDER = pathlib.Path(sys.argv[1])
VECTORS = {vector["name"]: vector for vector in json.loads((FOLDER / "vectors.json").read_text())}
KINDS = {"6.1": 1, "6.4": 2}


def leb128(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def rank(key, item):
    digits = keyed(key, item).hex()[:16]
    return len(digits) - len(digits.lstrip("0"))


def node(level, items):
    keys, values, last = b"", b"", b""
    for key, value in items:
        shared = 0
        while shared < min(len(key), len(last)) and key[shared] == last[shared]:
            shared += 1
        keys += leb128(shared) + leb128(len(key) - shared) + key[shared:]
        values, last = values + value, key
    return bytes([level]) + leb128(len(items)) + keys + values


def build(chunker, id_tree, kind, items):
    """The root of a map (§12.3): (id, level, entries), and how many nodes it has."""
    rule, level, made = derive(chunker, "ark 0 tree rank", kind.encode()), 0, 0
    items = [(key, value, 1) for key, value in items]
    while True:
        above, open_node = [], []
        for i, item in enumerate(items):
            open_node.append(item)
            if rank(rule, item[0]) > level or len(open_node) == 128 or i + 1 == len(items):
                chunk = keyed(id_tree, node(level, [item[:2] for item in open_node]))[:16]
                entries = sum(item[2] for item in open_node)
                above.append((item[0], chunk + leb128(entries), entries))
                open_node, made = [], made + 1
        if len(above) == 1:
            return (above[0][1][:16], level, above[0][2]), made
        items, level = above, level + 1


def expected(vector):
    """What the bytes must be, by the specification; None if this program does not say."""
    name, inputs = vector["name"], vector["inputs"]

    def data(field):
        return bytes.fromhex(inputs[field])

    if name == "derive":
        return derive(data("key"), inputs["context"], data("input"))
    if name == "settings mac key":
        return derive(data("index"), "ark 0 settings mac", b"")
    if name == "id of a data chunk":
        return keyed(data("id_data"), data("plaintext"))[:16]
    if name == "id of a tree node":
        return keyed(data("id_tree"), data("plaintext"))[:16]
    if name == "hash of a name claim":
        claimed = inputs["cluster"].encode() + b"\0" + inputs["name"].encode()
        return derive(data("index"), "ark 0 name claim", claimed)[:16]
    if name == "first four words of the gear table":
        return blake3.blake3(b"ark 0 gear table", key=data("chunker")).digest(length=2048)[:32]
    if name == "Padmé lengths":
        return b"".join(struct.pack("<Q", padme(length)) for length in inputs["lengths"])
    if name == "LEB128 varints":
        return b"".join(map(leb128, inputs["values"]))
    if name.startswith("ranks"):
        key = derive(data("chunker"), "ark 0 tree rank", inputs["kind"].encode())
        return bytes(rank(key, n.to_bytes(8, "big")) for n in range(256))
    if name == "root of a map":
        items = [(n.to_bytes(8, "big"), b"\0\1" + bytes([n & 255])) for n in range(1000)]
        root, made = build(data("chunker"), data("id_tree"), inputs["kind"], items)
        assert (made, root[1], root[2]) == (inputs["nodes"], inputs["level"], inputs["entries"])
        return root[0]
    if vector["section"] == "13.1":
        start = inputs["group"] + "\0" + inputs["resource"] + "\0"
        return (start + (inputs["namespace"] and inputs["namespace"] + "/") + inputs["name"]).encode()
    return None


def holds(vector):
    """Whether the vector is as the specification says; None if this program does not tell."""
    found, name, inputs = bytes.fromhex(vector["bytes"]), vector["name"], vector["inputs"]
    if (bytes_expected := expected(vector)) is not None:
        return found == bytes_expected
    if vector["section"] == "3" and "object" in inputs:
        return parse_name(found.decode()) is not None
    if name == "recovery key":
        return raw_key(found) == bytes.fromhex(inputs["raw_key"])
    if name.startswith("bincode"):
        c = Reader(found)
        numbers = c.list(c.int if "i64" in name else c.uint)
        c.end()
        return numbers == inputs["values"]
    if "document" in inputs:
        kind = KINDS.get(vector["section"], inputs.get("kind"))
        plain = bytes.fromhex(inputs.get("payload") or inputs["document"])
        return bool(document(kind, plain))
    return None


def two_data_keys():
    """Whether both backups of the repository read back, each with the data key that sealed it and without the other."""
    lines = [json.loads(line) for line in (FOLDER / "repository.jsonl").read_text().splitlines()]
    repository = Repository(FOLDER / "repository", key=b"\xa0" * 32)
    keys = dict(repository.data_keys)
    assert sorted(keys) == [1, 2], sorted(keys)
    for name in ("first", "second"):
        found = list(read(repository, name))
        wanted = [{key: line[key] for key in line if key != "backup"} for line in lines if line["backup"] == name]
        assert found == wanted, name
    del repository.data_keys[2]
    assert len(list(read(repository, "first"))) == sum(line["backup"] == "first" for line in lines)
    try:
        list(read(repository, "second"))
    except Damaged as damage:
        assert "keys/data/0002" in str(damage), damage
    else:
        raise AssertionError("nothing of the second backup needs the second data key")
    repository.data_keys = keys
    repository.cache = {}
    repository.check()


def read(repository, name):
    head, rows = repository.backups()
    repository.cache = {}
    repository.load_index(head, rows)
    row = next(row for row in rows if row["name"] == name)
    return repository.objects(dict(row["datasets"])["objects"])


def main():
    two_data_keys()
    print("the repository with two data keys reads back")
    passed = failed = skipped = 0
    for vector in VECTORS.values():
        try:
            result = holds(vector)
        except Damaged as damage:
            result = False
            print(f"{vector['name']}: {damage}")
        if result is False:
            print(f"{vector['name']}: not as the specification says")
        passed, failed, skipped = passed + (result is True), failed + (result is False), skipped + (result is None)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(failed > 0)


main()
