"""`dataclass` as the standard library has it, made in a tenth of the time.

The library's compiles half a dozen methods of each class as soon as a module is loaded; for a
hundred classes that was a sixth of the time of a short command. Here only `__init__` is compiled,
by the first instance. To type checkers, readers and `dataclasses.replace` nothing differs.

Takes what our classes use: always slots; frozen or not; defaults and factories; `init` and `repr`
of fields; `__post_init__`. No fields of base classes, no order, no `InitVar`.
"""

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, slots: bool, frozen: bool = False, eq: bool = True) -> Callable[[type], type]:
        """As `dataclasses.dataclass`; `slots` must be True."""
        if not slots:
            raise TypeError("a class without slots is for dataclasses.dataclass")
        return lambda plain: _made(plain, frozen, eq)


Defaults = dict[str, Any]
"""By the name of the field: its default, a `dataclasses.Field`, or MISSING."""


def _made(plain: type, frozen: bool, eq: bool) -> type:
    namespace = dict(plain.__dict__)
    fields: Defaults = {
        name: namespace.pop(name, dataclasses.MISSING)
        for name, kind in plain.__annotations__.items()
        if "ClassVar" not in str(kind)
    }
    for name in ("__dict__", "__weakref__"):
        namespace.pop(name, None)
    for name, told in fields.items():
        if type(told).__hash__ is None:
            raise ValueError(f"the default of {name} would be shared: use a default_factory")
        if isinstance(told, dataclasses.Field) and not (
            told.compare and told.hash is None and told.kw_only in (False, dataclasses.MISSING)
        ):
            raise TypeError(f"what is told of {name} is for dataclasses.dataclass")
    shared = _comparing(tuple(fields)) if eq else {}
    shared["__repr__"] = _repr(fields)
    shared["__replace__"] = _replaced
    if frozen:
        shared |= _freezing(tuple(fields))
    elif eq:
        shared["__hash__"] = None
    made = type(plain)(
        plain.__name__,
        plain.__bases__,
        {
            **shared,
            **namespace,
            "__slots__": tuple(fields),
            "__match_args__": tuple(name for name, told in fields.items() if _option(told, "init")),
            "__dataclass_fields__": _Fields(plain, fields),
        },
    )
    made.__qualname__ = plain.__qualname__

    def first_init(self: Any, *arguments: Any, **named: Any) -> None:
        made.__init__ = _init(made, fields, frozen)  # type: ignore[misc]  # from now on
        # Not self's: that may be a subclass's own, which called this one.
        made.__init__(self, *arguments, **named)  # type: ignore[misc]

    made.__init__ = first_init  # type: ignore[misc]  # until the first instance
    return made


def _option(default: object, name: str) -> bool:
    return getattr(default, name) if isinstance(default, dataclasses.Field) else True


def _init(made: type, fields: Defaults, frozen: bool) -> Any:
    """`__init__`, compiled; of a frozen class it fills the slots past `__setattr__`."""
    known: dict[str, Any] = {"_MADE_BY_FACTORY": _MADE_BY_FACTORY}
    parameters, lines = ["self"], []
    for name, told in fields.items():
        default: Any = told
        factory: Any = dataclasses.MISSING
        is_argument = True
        if isinstance(told, dataclasses.Field):
            default, factory, is_argument = told.default, told.default_factory, told.init
        known[f"_default_{name}"], known[f"_new_{name}"] = default, factory
        known[f"_set_{name}"] = made.__dict__[name].__set__
        value = name
        if factory is not dataclasses.MISSING:
            value = f"_new_{name}()"
            if is_argument:
                parameters.append(f"{name}=_MADE_BY_FACTORY")
                value = f"{value} if {name} is _MADE_BY_FACTORY else {name}"
        elif is_argument:
            has_default = default is not dataclasses.MISSING
            parameters.append(f"{name}=_default_{name}" if has_default else name)
        elif default is dataclasses.MISSING:
            continue
        else:
            value = f"_default_{name}"
        lines.append(f"_set_{name}(self, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(made, "__post_init__"):
        lines.append("self.__post_init__()")
    body = "".join(f"\n    {line}" for line in lines or ["pass"])
    exec(f"def __init__({', '.join(parameters)}):{body}", known)
    known["__init__"].__qualname__ = f"{made.__qualname__}.__init__"
    return known["__init__"]


_MADE_BY_FACTORY = object()


def _replaced(self: Any, /, **changes: Any) -> Any:
    """For `copy.replace`, of Python 3.13 and later."""
    return dataclasses.replace(self, **changes)


def _values(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda self: tuple(getattr(self, name) for name in names)


def _repr(fields: Defaults) -> Any:
    shown = tuple(name for name, told in fields.items() if _option(told, "repr"))

    @recursive_repr()
    def __repr__(self: Any) -> str:
        told = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__qualname__}({told})"

    return __repr__


def _comparing(names: tuple[str, ...]) -> dict[str, Any]:
    values = _values(names)

    def __eq__(self: Any, other: object) -> Any:
        if type(other) is not type(self):
            return NotImplemented
        return values(self) == values(other)

    def __hash__(self: Any) -> int:
        return hash(values(self))

    return {"__eq__": __eq__, "__hash__": __hash__}


def _freezing(names: tuple[str, ...]) -> dict[str, Any]:
    values = _values(names)

    def __setattr__(self: Any, name: str, value: object) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self: Any, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __getstate__(self: Any) -> list[Any]:
        return list(values(self))

    def __setstate__(self: Any, state: list[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    found = (__setattr__, __delattr__, __getstate__, __setstate__)
    return {method.__name__: method for method in found}


class _Fields:
    """`__dataclass_fields__`, told by the library itself to who asks (`replace`, `fields`)."""

    def __init__(self, plain: type, fields: Defaults) -> None:
        self._plain = plain
        self._fields = fields
        self._told: dict[str, Any] | None = None

    def __get__(self, instance: object, owner: type) -> dict[str, Any]:
        if self._told is None:
            namespace = {"__annotations__": self._plain.__annotations__}
            namespace |= {
                name: told for name, told in self._fields.items() if told is not dataclasses.MISSING
            }
            twin: Any = dataclasses.dataclass(type(self._plain.__name__, (), namespace))
            self._told = twin.__dataclass_fields__
        return self._told
