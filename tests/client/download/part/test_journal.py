"""The journal: whatever is read back is exactly what was written, or nothing."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_client.content.manifest import MOST_PIECES, SMALLEST_PIECE_BYTES
from p2p_client.content.piece_map import PieceMap
from p2p_client.download.part.journal import (
    Journal,
    JournalFile,
    JournalInvalid,
    encode,
    parse,
    piece_count,
)
from p2p_client.download.place.place import Place
from p2p_client.models import Digest, ManifestDigest

HEX = st.binary(min_size=32, max_size=32).map(bytes.hex)
NUMBERS = st.integers(0, 2**64 - 1)


@st.composite
def journals(draw: st.DrawFn) -> Journal:
    size_bytes = draw(
        st.integers(0, 40 * SMALLEST_PIECE_BYTES)
        | st.sampled_from([MOST_PIECES * SMALLEST_PIECE_BYTES, 2**62])
    )
    held = PieceMap(piece_count(size_bytes))
    if held.piece_count:
        for index in draw(st.sets(st.integers(0, held.piece_count - 1), max_size=30)):
            held.add(index)  # type: ignore[arg-type]  # PieceIndex is an int
    return Journal(
        Digest(draw(HEX)),
        ManifestDigest(draw(HEX)),
        size_bytes,
        draw(NUMBERS),
        draw(NUMBERS),
        held.to_bytes(),
    )


A_JOURNAL = Journal(Digest("ab" * 32), ManifestDigest("cd" * 32), 3 << 20, 7, 9, b"\x05")


@given(journals())
def test_what_was_written_is_read_back(journal: Journal) -> None:
    assert parse(encode(journal)) == journal


@given(journals(), st.data())
def test_any_changed_byte_is_noticed(journal: Journal, data: st.DataObject) -> None:
    encoded = bytearray(encode(journal))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))

    with pytest.raises(JournalInvalid):
        parse(bytes(encoded))


@given(journals(), st.data())
def test_any_cut_or_growth_is_noticed(journal: Journal, data: st.DataObject) -> None:
    encoded = encode(journal)
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    grown = encoded + data.draw(st.binary(min_size=1, max_size=40))

    for damaged in (cut, grown):
        with pytest.raises(JournalInvalid):
            parse(damaged)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_journal(noise: bytes) -> None:
    with pytest.raises(JournalInvalid):
        parse(noise)


@pytest.fixture
def journal_file(tmp_path: Path) -> Iterator[JournalFile]:
    with closing(Place.open(tmp_path / "target", overwrite=False)) as place:
        yield JournalFile(place, ".journal")


def test_a_saved_journal_is_private_and_leaves_no_other_file(
    journal_file: JournalFile, tmp_path: Path
) -> None:
    journal_file.save(A_JOURNAL)
    journal_file.save(A_JOURNAL)

    assert journal_file.load() == A_JOURNAL
    assert os.listdir(tmp_path) == [".journal"]
    assert (tmp_path / ".journal").stat().st_mode & 0o777 == 0o600


def test_a_journal_reached_through_a_symlink_is_not_read(
    journal_file: JournalFile, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").write_bytes(encode(A_JOURNAL))
    (tmp_path / ".journal").symlink_to("elsewhere")

    assert journal_file.load() is None


def test_a_symlink_planted_for_the_new_journal_is_not_written_through(
    journal_file: JournalFile, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".journal.new").symlink_to(victim)

    journal_file.save(A_JOURNAL)

    assert victim.read_bytes() == b"precious"
    assert journal_file.load() == A_JOURNAL


def test_a_fifo_in_place_of_the_journal_does_not_block(
    journal_file: JournalFile, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / ".journal")

    assert journal_file.load() is None
