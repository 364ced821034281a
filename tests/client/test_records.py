"""Our `dataclass` does what the standard library's does: each claim is made of both."""

import copy
import dataclasses
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, field, replace
from typing import Any, ClassVar

import pytest

from p2p_client import records

Maker = Callable[..., Callable[[type], Any]]
MAKERS: dict[str, Any] = {"the library's": dataclasses.dataclass, "ours": records.dataclass}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Maker:
    maker: Maker = MAKERS[request.param]
    return maker


def point(make: Maker, **options: bool) -> Any:
    class Point:
        """Where."""

        origin: ClassVar[str] = "north"
        x: int
        y: int = 2
        secret: str = field(default="key", repr=False)
        marks: list[int] = field(default_factory=list)
        sum: int = field(init=False, default=0)

        def __post_init__(self) -> None:
            object.__setattr__(self, "sum", self.x + self.y)

        @property
        def twice(self) -> int:
            return 2 * self.x

    return make(slots=True, **options)(Point)


def test_fields_are_taken_in_order_and_by_name(make: Maker) -> None:
    a = point(make, frozen=True)(1, marks=[7])

    assert (a.x, a.y, a.secret, a.marks, a.sum, a.twice) == (1, 2, "key", [7], 3, 2)
    assert type(a).__match_args__ == ("x", "y", "secret", "marks")
    assert type(a).__doc__ == "Where."
    assert type(a).origin == "north"
    assert not hasattr(a, "__dict__")


def test_what_a_factory_makes_is_not_shared(make: Maker) -> None:
    made = point(make)

    assert made(1).marks is not made(1).marks


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((), {}), ((1,), {"z": 1}), ((1,), {"x": 1}), ((1, 2, "", [], 5), {}), ((1,), {"sum": 1})],
)
def test_wrong_arguments_are_refused_always(
    make: Maker, arguments: tuple[object, ...], named: dict[str, object]
) -> None:
    made = point(make, frozen=True)

    for _ in range(2):  # the first instance is made in another way than the others
        with pytest.raises(TypeError, match="Point"):
            made(*arguments, **named)


def test_text_shows_what_may_be_shown(make: Maker) -> None:
    assert repr(point(make)(1)).endswith("Point(x=1, y=2, marks=[], sum=3)")


def test_one_that_holds_itself_can_be_shown(make: Maker) -> None:
    a = point(make)(1)
    a.marks.append(a)

    assert "marks=[...]" in repr(a)


def test_equal_is_what_has_equal_fields_and_the_same_class(make: Maker) -> None:
    made = point(make, frozen=True)

    assert made(1) == made(1)
    assert made(1) != made(2)
    assert made(1) != point(make, frozen=True)(1)


@pytest.mark.parametrize("names", [(), ("x",), ("x", "y")])
def test_what_is_frozen_is_hashed_by_its_fields(make: Maker, names: tuple[str, ...]) -> None:
    made = make(slots=True, frozen=True)(type("T", (), {"__annotations__": dict.fromkeys(names)}))
    ones = [1] * len(names)

    assert hash(made(*ones)) == hash(made(*ones)) == hash(tuple(ones))
    assert made(*ones) == made(*ones)


def test_what_can_change_has_no_hash_unless_it_is_compared_by_identity(make: Maker) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(point(make)(1))
    by_identity = point(make, eq=False)

    assert by_identity(1) != by_identity(1)
    assert len({by_identity(1), by_identity(1)}) == 2


def test_what_is_frozen_cannot_be_changed(make: Maker) -> None:
    a = point(make, frozen=True)(1)

    for name in ("x", "sum"):
        with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(a, name, 5)
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        del a.x
    assert a.x == 1


def test_a_changed_copy_can_be_made(make: Maker) -> None:
    a = point(make, frozen=True)(1)

    assert replace(a, y=5) == point_like(a, 1, 5)
    assert [told.name for told in dataclasses.fields(a)] == ["x", "y", "secret", "marks", "sum"]
    assert copy.copy(a) == copy.deepcopy(a) == a


def point_like(a: object, *arguments: object) -> object:
    return type(a)(*arguments)


def test_a_default_that_would_be_shared_is_refused(make: Maker) -> None:
    bad = type("Bad", (), {"__annotations__": {"x": list}, "x": []})

    with pytest.raises(ValueError, match="default_factory"):
        make(slots=True)(bad)


@records.dataclass(frozen=True, slots=True)
class Kept:
    x: int
    y: int = 2


def test_one_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Kept(1))) == Kept(1)


def test_a_pattern_takes_it_apart() -> None:
    match Kept(1, 3):
        case Kept(x, y):
            assert (x, y) == (1, 3)


def test_a_subclass_with_an_init_of_its_own_is_made_once(make: Maker) -> None:
    class Base:
        x: int

    base: Any = make(slots=True)(Base)

    class Named(base):  # type: ignore[misc]  # known only here
        made = 0

        def __init__(self, name: str) -> None:
            Named.made += 1
            super().__init__(len(name))

    assert [Named("anna").x, Named("bo").x, Named.made] == [4, 2, 2]


@pytest.mark.parametrize("option", ["compare", "hash", "kw_only"])
def test_what_is_not_taken_is_refused_and_not_ignored(option: str) -> None:
    class Told:
        x: int = field(default=1, **{option: option != "compare"})  # type: ignore[call-overload]

    with pytest.raises(TypeError, match="x is for"):
        records.dataclass(slots=True)(Told)


def test_copies_with_changes_are_made_as_python_3_13_makes_them() -> None:
    a = point(records.dataclass, frozen=True)(1, 2, marks=[3])

    b = a.__replace__(y=5)

    assert (b.x, b.y, b.marks, b.sum) == (1, 5, [3], 6)


def test_threads_may_make_the_first_instance_at_the_same_time() -> None:
    for _ in range(50):
        made, together = point(records.dataclass, frozen=True), threading.Barrier(4)

        def first(made: Any = made, together: threading.Barrier = together) -> Any:
            together.wait(60)
            return made(1, marks=[2])

        with ThreadPoolExecutor(4) as threads:
            found = [each.result() for each in [threads.submit(first) for _ in range(4)]]
        assert found == [made(1, marks=[2])] * 4
