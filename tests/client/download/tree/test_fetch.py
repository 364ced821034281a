"""Whole trees from real sources over gRPC: few calls, every content verified, nothing lost."""

from pathlib import Path

import pytest
from tests.support.sources.trees import TreeSource, on_disk, trees_from

from p2p_client.config import Settings
from p2p_client.errors import LocalRefusal, TargetExists

MIB = 1 << 20
FILES = {f"tree/{n % 7}/file-{n}.txt": f"content {n}".encode() * 9 for n in range(300)}
ALL = tuple(FILES.values())


async def test_a_tree_comes_with_its_paths_in_few_calls(tmp_path: Path) -> None:
    async with trees_from(TreeSource("alice", ALL)) as trees:
        done = await trees.fetch(trees.tree(FILES), tmp_path)

        assert on_disk(tmp_path) == FILES
        assert (done.files, done.failed_files, done.sources) == (300, 0, ("alice",))
        assert done.fetched_bytes == sum(map(len, ALL)) == done.size_bytes
        assert len(trees.locate_calls) == 1
        assert len(trees.sources[0].packed_calls) == 1


async def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    async with trees_from(TreeSource("alice", ALL)) as trees:
        await trees.fetch(trees.tree(FILES), tmp_path)
        gone = next(iter(FILES))
        (tmp_path / gone).unlink()

        done = await trees.fetch(trees.tree(FILES), tmp_path)

        assert on_disk(tmp_path) == FILES
        assert done.fetched_bytes == len(FILES[gone])
        assert done.resumed_bytes == done.size_bytes - len(FILES[gone])


async def test_a_complete_tree_asks_nobody(tmp_path: Path) -> None:
    async with trees_from(TreeSource("alice", ALL)) as trees:
        await trees.fetch(trees.tree(FILES), tmp_path)
        trees.locate_calls.clear()

        done = await trees.fetch(trees.tree(FILES), tmp_path)

        assert not trees.locate_calls
        assert (done.fetched_bytes, done.resumed_bytes) == (0, done.size_bytes)


async def test_one_content_at_several_paths_is_fetched_once(tmp_path: Path) -> None:
    files = {"tree/a": b"same", "tree/b": b"same", "tree/sub/c": b"same", "tree/d": b"other"}
    async with trees_from(TreeSource("alice", (b"same", b"other"))) as trees:
        done = await trees.fetch(trees.tree(files), tmp_path)

        assert on_disk(tmp_path) == files
        assert done.fetched_bytes == len(b"same") + len(b"other")


async def test_what_stands_elsewhere_in_the_tree_is_copied(tmp_path: Path) -> None:
    files = {"tree/a": b"same", "tree/b": b"same"}
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a").write_bytes(b"same")
    async with trees_from(TreeSource("alice", ())) as trees:
        done = await trees.fetch(trees.tree(files), tmp_path)

        assert on_disk(tmp_path) == files
        assert done.fetched_bytes == 0


async def test_an_empty_file_needs_no_source(tmp_path: Path) -> None:
    async with trees_from(TreeSource("alice", ())) as trees:
        done = await trees.fetch(trees.tree({"tree/empty": b""}), tmp_path)

        assert on_disk(tmp_path) == {"tree/empty": b""}
        assert not done.failed_files
        assert not trees.locate_calls


async def test_a_large_content_among_small_ones(tmp_path: Path) -> None:
    large = bytes(range(256)) * (3 * MIB // 256) + b"end"
    files = FILES | {"tree/large": large, "tree/again": large}
    async with trees_from(TreeSource("alice", (*ALL, large))) as trees:
        done = await trees.fetch(trees.tree(files), tmp_path)

        assert on_disk(tmp_path) == files
        assert done.fetched_bytes == sum(map(len, ALL)) + len(large)
        assert len(trees.locate_calls) == 1


async def test_a_source_that_cannot_pack_is_asked_file_by_file(tmp_path: Path) -> None:
    async with trees_from(TreeSource("alice", ALL, packs=False)) as trees:
        done = await trees.fetch(trees.tree(FILES), tmp_path)

        assert on_disk(tmp_path) == FILES
        assert not done.failed_files
        assert trees.sources[0].file_calls == len(FILES)


async def test_several_sources_share_the_work(tmp_path: Path) -> None:
    sources = [TreeSource(user, ALL) for user in ("alice", "bob", "carol")]
    async with trees_from(*sources) as trees:
        done = await trees.fetch(trees.tree(FILES), tmp_path)

        assert on_disk(tmp_path) == FILES
        assert all(source.given for source in sources)
        assert set(done.sources) == {"alice", "bob", "carol"}


async def test_a_wrong_content_is_fetched_elsewhere(tmp_path: Path) -> None:
    wrong = frozenset(ALL[:5])
    async with trees_from(TreeSource("liar", ALL, wrong=wrong), TreeSource("bob", ALL)) as trees:
        done = await trees.fetch(trees.tree(FILES), tmp_path)

        assert on_disk(tmp_path) == FILES
        assert not done.failed_files


async def test_what_nobody_serves_right_fails_and_the_others_come(tmp_path: Path) -> None:
    bad = frozenset({ALL[3]})
    async with trees_from(TreeSource("liar", ALL, wrong=bad)) as trees:
        done = await trees.fetch(trees.tree(FILES), tmp_path)

        missing = {path: content for path, content in FILES.items() if content not in bad}
        assert on_disk(tmp_path) == missing
        assert done.failed_files == 1
        assert trees.failed == {"file-3.txt": "NO_SOURCE_LEFT"}


async def test_a_content_of_another_length_is_not_taken(tmp_path: Path) -> None:
    short = frozenset({ALL[0]})
    async with trees_from(TreeSource("liar", ALL, shortened=short)) as trees:
        done = await trees.fetch(trees.tree(FILES), tmp_path)

        assert done.failed_files == 1
        assert "tree/0/file-0.txt" not in on_disk(tmp_path)


@pytest.mark.parametrize("lie", ["extra", "shuffled"])
async def test_a_source_that_sends_what_was_not_asked_for_is_left(tmp_path: Path, lie: str) -> None:
    liar = TreeSource("liar", ALL, extra=lie == "extra", shuffled=lie == "shuffled")
    async with trees_from(liar, TreeSource("bob", ALL)) as trees:
        done = await trees.fetch(trees.tree(FILES), tmp_path)

        assert on_disk(tmp_path) == FILES
        assert not done.failed_files


async def test_a_source_that_falls_silent_loses_its_work_to_others(tmp_path: Path) -> None:
    silent = TreeSource("silent", ALL, stall_after=20)
    async with trees_from(silent, TreeSource("bob", ALL)) as trees:
        done = await trees.fetch(trees.tree(FILES), tmp_path)

        assert on_disk(tmp_path) == FILES
        assert not done.failed_files


async def test_another_user_who_has_only_some_is_asked_for_these(tmp_path: Path) -> None:
    some = TreeSource("bob", ALL[:40])
    async with trees_from(TreeSource("alice", ALL), some) as trees:
        done = await trees.fetch(trees.tree(FILES), tmp_path)

        assert on_disk(tmp_path) == FILES
        assert not done.failed_files


async def test_without_any_source_every_file_is_named(tmp_path: Path) -> None:
    async with trees_from(TreeSource("alice", ())) as trees:
        done = await trees.fetch(trees.tree({"a": b"1", "b": b"2"}), tmp_path)

        assert done.failed_files == 2
        assert trees.failed == {"a": "NO_SOURCE_LEFT", "b": "NO_SOURCE_LEFT"}
        assert on_disk(tmp_path) == {}


async def test_a_low_limit_asks_for_little_at_once(tmp_path: Path) -> None:
    contents = [bytes([n]) * 40_000 for n in range(1, 9)]
    files = {f"tree/{n}": content for n, content in enumerate(contents)}
    async with trees_from(TreeSource("alice", contents)) as trees:
        trees.settings = Settings(idle_timeout_seconds=1.0, limit_down_bytes_per_second=1e6)
        trees.settings = Settings(idle_timeout_seconds=1.0, limit_down_bytes_per_second=16_384)
        tree = trees.tree({path: files[path] for path in list(files)[:2]})

        done = await trees.fetch(tree, tmp_path)

        assert not done.failed_files
        assert max(trees.sources[0].packed_calls) <= 2


async def test_other_files_at_the_places_are_refused_before_a_byte(tmp_path: Path) -> None:
    (tmp_path / "tree/0").mkdir(parents=True)
    (tmp_path / "tree/0/file-0.txt").write_bytes(b"mine")
    async with trees_from(TreeSource("alice", ALL)) as trees:
        with pytest.raises(TargetExists, match=r"tree/0/file-0\.txt"):
            await trees.fetch(trees.tree(FILES), tmp_path)

        assert on_disk(tmp_path) == {"tree/0/file-0.txt": b"mine"}
        assert not trees.locate_calls


async def test_overwrite_replaces_them(tmp_path: Path) -> None:
    (tmp_path / "tree/0").mkdir(parents=True)
    (tmp_path / "tree/0/file-0.txt").write_bytes(b"mine")
    async with trees_from(TreeSource("alice", ALL)) as trees:
        await trees.fetch(trees.tree(FILES), tmp_path, overwrite=True)

        assert on_disk(tmp_path) == FILES


async def test_the_folder_is_made_and_goes_again_when_nothing_came(tmp_path: Path) -> None:
    async with trees_from(TreeSource("alice", ())) as trees:
        await trees.fetch(trees.tree({"a": b"1"}), tmp_path / "new")

        assert not (tmp_path / "new").exists()
        with pytest.raises(LocalRefusal, match="does not exist"):
            await trees.fetch(trees.tree({"a": b"1"}), tmp_path / "no" / "such")
