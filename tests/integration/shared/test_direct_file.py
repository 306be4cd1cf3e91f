"""Files written past the page cache have the bytes and the hash, whatever the sizes.

Not covered here: file systems whose alignment is coarser than a page.
"""

import errno
import hashlib
import os
import random
import threading

import pytest

from draw_shared.storage import direct_file
from draw_shared.storage.direct_file import BLOCK_BYTES, PIECE_BYTES, DirectFile

HEAD = b"h" * 700
SIZES = [0, 1, BLOCK_BYTES - 700, BLOCK_BYTES, 525_000, PIECE_BYTES - 700, PIECE_BYTES, 2_500_001]


def write(path, data, step=16_378):
    digest = hashlib.sha256()
    file = DirectFile(str(path), HEAD, digest)
    for at in range(0, len(data), step):
        file.write(memoryview(data)[at : at + step])
    return file, digest


@pytest.mark.parametrize("step", [16_378, 3_000_000])
@pytest.mark.parametrize("size", SIZES)
def test_bytes_size_and_hash(tmp_path, size, step):
    data = random.Random(size).randbytes(size)
    file, digest = write(tmp_path / "f", data, step)
    assert file.size == 700 + size
    file.finish()
    assert (tmp_path / "f").read_bytes() == HEAD + data
    assert digest.hexdigest() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_can_be_read_before_the_end(tmp_path, size):
    data = random.Random(size).randbytes(size)
    file, _ = write(tmp_path / "f", data)
    whole = HEAD + data
    for begin, end in ((700, 65_536), (0, 10), (700, PIECE_BYTES + 900), (700, 5_000_000)):
        assert file.read(begin, end) == whole[begin:end]
    file.close()


def test_a_file_system_without_direct_writes_is_written_all_the_same(tmp_path, monkeypatch):
    real, refused = os.pwrite, []

    def aligned_only(descriptor, data, offset):
        if not refused:
            refused.append(len(data))
            raise OSError(errno.EINVAL, "alignment")
        return real(descriptor, data[: len(data) // 3 + 1], offset)

    monkeypatch.setattr(os, "pwrite", aligned_only)
    data = random.Random(1).randbytes(300_001)
    file, digest = write(tmp_path / "f", data)
    file.finish()
    assert refused
    assert (tmp_path / "f").read_bytes() == HEAD + data
    assert digest.hexdigest() == hashlib.sha256(data).hexdigest()


def test_files_written_at_the_same_time_do_not_share_memory(tmp_path):
    def work(number):
        for turn in range(6):
            data = bytes([number]) * (400_000 + 1000 * turn)
            file, digest = write(tmp_path / f"{number}-{turn}", data)
            file.finish()
            wrong.extend([number] * (digest.digest() != hashlib.sha256(data).digest()))

    wrong = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    for number in range(8):
        for turn in range(6):
            held = (tmp_path / f"{number}-{turn}").read_bytes()
            assert held == HEAD + bytes([number]) * (400_000 + 1000 * turn)


def test_memory_is_given_back_once_and_bounded(tmp_path):
    files = [write(tmp_path / str(n), b"x" * 1000)[0] for n in range(40)]
    for file in files:
        file.close()
        file.close()
    assert len(direct_file._spare) <= direct_file.MAX_SPARE_PIECES
    assert len({id(piece) for piece in direct_file._spare}) == len(direct_file._spare)
