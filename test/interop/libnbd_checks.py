#!/usr/bin/python3
"""Checks of a server with the libnbd client: one named check per run.

    libnbd_checks.py CHECK URI SEED

The server must have a disk of at least 32 MiB that is empty at the start. A failed check ends with a
traceback and status 1. Python's own random numbers are seeded with SEED, so a failure can be repeated.
"""
import errno
import random
import sys

import nbd

PAGE = 4096
MIB = 1 << 20


def new_handle():
    handle = nbd.NBD()
    handle.set_uri_allow_local_file(True)  # files of TLS
    return handle


def connect(uri, structured=True, meta=False, strict=True):
    handle = new_handle()
    handle.set_request_structured_replies(structured)
    if meta:
        handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    if not strict:
        handle.set_strict_mode(0)
    handle.connect_uri(uri)
    return handle


def error_of(call, *arguments, **named):
    """The errno of a call that must fail."""
    try:
        call(*arguments, **named)
    except nbd.Error as error:
        return error.errnum
    raise AssertionError("an error was expected")


def flags(uri, _random):
    h = connect(uri)
    assert not h.is_read_only() and not h.is_rotational()
    for name in ("flush", "fua", "trim", "zero", "fast_zero", "cache", "df", "multi_conn"):
        assert getattr(h, "can_" + name)(), name
    assert h.get_block_size(nbd.SIZE_MINIMUM) == 1
    assert h.get_block_size(nbd.SIZE_PREFERRED) == PAGE
    assert h.get_block_size(nbd.SIZE_MAXIMUM) == 32 * MIB
    assert h.get_protocol() == "newstyle-fixed"


def simple_replies(uri, rng):
    h = connect(uri, structured=False)
    assert not h.get_structured_replies_negotiated()
    for offset, length in ((0, PAGE), (4097, 1), (PAGE - 1, 2), (3 * PAGE + 100, 9 * PAGE), (MIB, MIB)):
        data = rng.randbytes(length)
        h.pwrite(data, offset)
        assert bytes(h.pread(length, offset)) == data
    h.trim(MIB, MIB)
    assert bytes(h.pread(MIB, MIB)) == bytes(MIB)


def structured_replies(uri, rng):
    h = connect(uri)
    assert h.get_structured_replies_negotiated()
    data = rng.randbytes(64 * 1024)
    h.pwrite(data, 2 * MIB)
    chunks = []

    def on_chunk(part, offset, status, error):
        assert error.value == 0
        chunks.append((offset, bytes(part), status))
        return 0

    start, length = 2 * MIB - 64 * 1024, 256 * 1024
    got = bytes(h.pread_structured(length, start, on_chunk))
    assert got == bytes(64 * 1024) + data + bytes(128 * 1024)
    at = start
    for offset, part, status in sorted(chunks):
        assert offset == at, "chunks neither overlap nor leave a gap"
        assert status in (nbd.READ_DATA, nbd.READ_HOLE)
        assert status == nbd.READ_DATA or part == bytes(len(part))
        at += len(part)
    assert at == start + length
    chunks.clear()
    # up to 64 KiB a server must comply; above it may fail with EOVERFLOW (proto.md, NBD_CMD_FLAG_DF)
    got = bytes(h.pread_structured(64 * 1024, 2 * MIB - 32 * 1024, on_chunk, nbd.CMD_FLAG_DF))
    assert got == bytes(32 * 1024) + data[:32 * 1024]
    assert len(chunks) == 1, "DF: in one piece"


def extents(h, length, offset, request_flags=0):
    """[(length, flags)] of base:allocation."""
    found = []

    def on_extents(context, _offset, entries, error):
        assert context == nbd.CONTEXT_BASE_ALLOCATION and error.value == 0
        found.extend(zip(entries[0::2], entries[1::2]))
        return 0

    h.block_status(length, offset, on_extents, request_flags)
    return found


def whole_map(h, length, offset):
    """The extents of a range, requested until it is covered; adjacent ones of one kind are joined."""
    joined = []
    while length > 0:
        entries = extents(h, length, offset)
        assert entries, "a reply has at least one extent"
        for part, kind in entries:
            assert part > 0
            part = min(part, length)
            length -= part
            offset += part
            if joined and joined[-1][1] == kind:
                joined[-1][0] += part
            else:
                joined.append([part, kind])
            if length == 0:
                break
    return [tuple(e) for e in joined]


HOLE = nbd.STATE_HOLE | nbd.STATE_ZERO


def block_status(uri, rng):
    h = connect(uri, meta=True)
    assert h.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    assert whole_map(h, 8 * MIB, 0) == [(8 * MIB, HOLE)], "an empty disk is one hole"
    h.pwrite(rng.randbytes(16 * PAGE), MIB)
    h.pwrite(rng.randbytes(PAGE), 3 * MIB)
    want = [(MIB, HOLE), (16 * PAGE, 0), (2 * MIB - 16 * PAGE, HOLE), (PAGE, 0), (5 * MIB - PAGE, HOLE)]
    assert whole_map(h, 8 * MIB, 0) == want
    one = extents(h, 8 * MIB, MIB, nbd.CMD_FLAG_REQ_ONE)
    assert len(one) == 1 and one[0] == (16 * PAGE, 0)
    h.trim(8 * MIB, 0)
    assert whole_map(h, 8 * MIB, 0) == [(8 * MIB, HOLE)], "trimmed: a hole again"


def trim(uri, rng):
    h = connect(uri, meta=True)
    data = rng.randbytes(MIB)
    h.pwrite(data, 0)
    h.trim(64 * 1024, 128 * 1024, nbd.CMD_FLAG_FUA)
    want = bytearray(data)
    want[128 * 1024:192 * 1024] = bytes(64 * 1024)
    assert bytes(h.pread(MIB, 0)) == bytes(want), "a trimmed range reads as zeros, its neighbours stay"
    assert whole_map(h, 64 * 1024, 128 * 1024) == [(64 * 1024, HOLE)]
    h.trim(3 * PAGE, 512 * 1024 + 100)  # unaligned: only bytes in the range may change
    got = bytes(h.pread(MIB, 0))
    start, end = 512 * 1024 + 100, 512 * 1024 + 100 + 3 * PAGE
    assert got[:start] == bytes(want[:start]) and got[end:] == bytes(want[end:])
    assert all(g in (0, w) for g, w in zip(got[start:end], want[start:end]))


def zero(uri, rng):
    h = connect(uri, meta=True)
    want = bytearray(rng.randbytes(MIB))
    h.pwrite(bytes(want), 0, nbd.CMD_FLAG_FUA)
    jobs = (
        (0, PAGE, 0),
        (PAGE + 1, 1, 0),
        (5 * PAGE - 3, 3 * PAGE + 7, nbd.CMD_FLAG_FUA),
        (64 * PAGE, 16 * PAGE, nbd.CMD_FLAG_NO_HOLE),
        (128 * PAGE, 16 * PAGE, nbd.CMD_FLAG_FAST_ZERO),
        (200 * PAGE + 511, 20 * PAGE, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA),
    )
    for offset, length, request_flags in jobs:
        h.zero(length, offset, request_flags)
        want[offset:offset + length] = bytes(length)
        assert bytes(h.pread(MIB, 0)) == bytes(want), (offset, length)
    assert whole_map(h, 16 * PAGE, 64 * PAGE) == [(16 * PAGE, nbd.STATE_ZERO)], "NO_HOLE: no hole"
    assert whole_map(h, 16 * PAGE, 128 * PAGE) == [(16 * PAGE, HOLE)]
    h.flush()


def cache_and_flush(uri, rng):
    h = connect(uri)
    data = rng.randbytes(5 * PAGE)
    h.pwrite(data, 7 * PAGE)
    h.cache(5 * PAGE, 7 * PAGE)
    h.flush()
    assert bytes(h.pread(5 * PAGE, 7 * PAGE)) == data


def several_connections(uri, rng):
    handles = [connect(uri, structured=i % 2 == 0) for i in range(8)]
    for turn in range(64):
        writer, reader = rng.sample(handles, 2)
        data = rng.randbytes(PAGE * rng.randint(1, 8))
        offset = turn * 16 * PAGE
        writer.pwrite(data, offset)
        writer.flush()
        assert bytes(reader.pread(len(data), offset)) == data, "multi-conn: after a flush all see it"


def finish(h, cookies):
    while h.aio_in_flight() > 0:
        h.poll(-1)
    assert all(h.aio_command_completed(c) for c in cookies)  # raises when a command failed


def in_flight(uri, rng):
    """64 commands in flight on one connection, answered in any order."""
    h = connect(uri)
    pages = [rng.randbytes(PAGE) for _ in range(64)]
    cookies = [
        h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(page)), i * PAGE)
        for i, page in enumerate(pages)
    ]
    finish(h, cookies)
    buffers = [nbd.Buffer(PAGE) for _ in pages]
    cookies = [h.aio_pread(b, i * PAGE) for i, b in enumerate(buffers)]
    finish(h, cookies)
    assert [bytes(b.to_bytearray()) for b in buffers] == pages


def errors(uri, _rng):
    h = connect(uri, strict=False)
    size = h.get_size()
    data = bytes(PAGE)
    assert error_of(h.pread, PAGE, size) == errno.EINVAL
    assert error_of(h.pread, 2 * PAGE, size - PAGE) == errno.EINVAL
    assert error_of(h.pread, PAGE, 1 << 62) == errno.EINVAL
    assert error_of(h.pwrite, data, size) in (errno.ENOSPC, errno.EINVAL)
    assert error_of(h.pwrite, data, size - 1) in (errno.ENOSPC, errno.EINVAL)
    assert error_of(h.trim, PAGE, size) == errno.EINVAL
    assert error_of(h.zero, PAGE, size) in (errno.ENOSPC, errno.EINVAL)
    assert error_of(h.pread, PAGE, 0, nbd.CMD_FLAG_NO_HOLE) == errno.EINVAL, "a flag of another command"
    assert error_of(h.pread, 33 * MIB, 0) in (errno.EINVAL, errno.EOVERFLOW), "longer than the maximum"
    h.pwrite(data, size - PAGE)
    assert bytes(h.pread(PAGE, size - PAGE)) == data, "the connection goes on after each error"


def write_too_long(uri, rng):
    """A write above the maximum fails with an error or a disconnect; the disk does not change."""
    h = connect(uri, strict=False)
    data = rng.randbytes(PAGE)
    h.pwrite(data, 0)
    error_of(h.pwrite, bytes(33 * MIB), 0)
    again = connect(uri)
    assert bytes(again.pread(PAGE, 0)) == data


def names(uri, _rng):
    h = new_handle()
    h.set_opt_mode(True)
    h.connect_uri(uri)
    found = {}
    h.opt_list(lambda name, description: found.setdefault(name, description) and 0)
    assert h.get_export_name() in found, found
    good = h.get_export_name()
    h.set_export_name("no-such-disk")
    assert error_of(h.opt_info) == errno.ENOENT
    assert error_of(h.opt_go) == errno.ENOENT
    h.set_export_name(good)
    h.opt_info()
    size = h.get_size()
    h.opt_go()
    assert h.get_size() == size and size % PAGE == 0
    other = new_handle()
    other.set_opt_mode(True)
    other.connect_uri(uri)
    other.opt_abort()


def model(uri, rng):
    """Random requests on three connections, compared with a byte array."""
    size = 4 * MIB
    want = bytearray(size)
    handles = [connect(uri, structured=s, meta=s) for s in (True, True, False)]
    for _ in range(3000):
        h = rng.choice(handles)
        length = rng.choice((1, 17, 512, PAGE, 4 * PAGE, rng.randint(1, 32 * PAGE)))
        offset = rng.randrange(size - length)
        if rng.random() < 0.6:
            length = min(length + PAGE - 1, 32 * PAGE) // PAGE * PAGE
            offset = min(offset // PAGE * PAGE, size - length)
        kind = rng.random()
        if kind < 0.40:
            data = rng.randbytes(length) if rng.random() < 0.5 else rng.randbytes(1) * length
            h.pwrite(data, offset, rng.choice((0, nbd.CMD_FLAG_FUA)))
            want[offset:offset + length] = data
        elif kind < 0.55:
            h.zero(length, offset, rng.choice((0, nbd.CMD_FLAG_NO_HOLE)))
            want[offset:offset + length] = bytes(length)
        elif kind < 0.65:  # full pages only: the server decides what a trim of partial pages does
            offset, length = offset // PAGE * PAGE, (length + PAGE - 1) // PAGE * PAGE
            length = min(length, size - offset)
            h.trim(length, offset)
            want[offset:offset + length] = bytes(length)
        else:
            assert bytes(h.pread(length, offset)) == bytes(want[offset:offset + length]), (offset, length)
    assert bytes(handles[2].pread(size, 0)) == bytes(want)
    at = 0
    for length, kind in whole_map(handles[0], size, 0):
        if kind & nbd.STATE_ZERO:
            assert not any(want[at:at + length]), "what is called zero is zero"
        at += length


def main():
    name, uri, seed = sys.argv[1:]
    checks = {
        f.__name__: f
        for f in (
            flags, simple_replies, structured_replies, block_status, trim, zero, cache_and_flush,
            several_connections, in_flight, errors, write_too_long, names, model,
        )
    }
    checks[name](uri, random.Random(int(seed)))


main()
