"""Strict configs: every wrong field gives one line that names it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import pytest
from pydantic import Field, ValidationError, model_validator

from koopstep.core.config import Added, Config, dump, override
from koopstep.core.errors import UsageError
from koopstep.core.yaml_reader import parse_yaml


class Inner(Config):
    rate: float = Field(default=1e-3, gt=0)
    size: int = 4


class Round(Config):
    kind: Literal["round"] = "round"
    radius: float = 1.0


class Square(Config):
    kind: Literal["square"] = "square"
    sides: tuple[float, float] = (1.0, 1.0)
    inner: Annotated[Round | Inner, Field(union_mode="left_to_right")] | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.sides[0] != self.sides[1]:
            raise ValueError("the sides must be equal")
        return self


AnyForm = Annotated[Round | Square, Field(discriminator="kind")]


class Outer(Config):
    name: str
    kind: Literal["a", "b"] = "a"
    shape: tuple[int, ...] = (1, 2)
    inner: Inner = Inner()
    other: Inner | None = None
    flag: bool = False
    form: AnyForm = Round()
    keep: Literal["ends", "all"] | int = "ends"
    notes: dict[str, AnyForm] = Field(default_factory=dict)


def test_round_trip() -> None:
    config = Outer.parse({"name": "x", "shape": [3, 4], "inner": {"rate": 1, "size": 2}}, "here")
    assert config == Outer(name="x", shape=(3, 4), inner=Inner(rate=1.0, size=2))
    assert dump(config)["shape"] == [3, 4]
    assert Outer.parse(dump(config), "here") == config
    with pytest.raises(ValidationError):
        config.name = "y"  # type: ignore[misc]


BAD: list[tuple[Any, str]] = [
    (
        {"name": "x", "inner": {"rte": 1}},
        r"unknown field 'inner.rte'; did you mean 'rate'\? allowed: rate, size",
    ),
    ({"name": "x", "nam": 1}, r"unknown field 'nam'; did you mean 'name'\?"),
    ({}, "field 'name' is missing"),
    ({"name": 3}, "field 'name' got 3"),
    ({"name": "x", "inner": {"size": 2.5}}, r"field 'inner.size' got 2\.5"),
    ({"name": "x", "inner": {"size": "2"}}, "field 'inner.size' got '2'"),
    ({"name": "x", "inner": {"size": True}}, "field 'inner.size' got True"),
    ({"name": "x", "inner": {"rate": -1.0}}, "field 'inner.rate' got -1.0: .*greater than 0"),
    ({"name": "x", "kind": "c"}, "field 'kind' got 'c': .*'a' or 'b'"),
    ({"name": "x", "shape": [1, "q"]}, "field 'shape.1' got 'q'"),
    ({"name": "x", "flag": 1}, "field 'flag' got 1"),
    ({"name": "x", "other": {"zzz": 1}}, "unknown field 'other.zzz'"),
    ({"name": "x" * 500, "kind": "y" * 500}, "field 'kind'"),
    (
        {"name": "x", "form": {"kind": "roundd"}},
        r"'form.kind' got 'roundd'; did you mean 'round'\? allowed: round, square",
    ),
    ({"name": "x", "form": {"kind": 3}}, "field 'form.kind' got '3'; allowed: round, square"),
    ({"name": "x", "form": {"radius": 3}}, "field 'form.kind' is missing; allowed: round, square"),
    (
        {"name": "x", "form": {"kind": "square", "side": 3}},
        r"unknown field 'form.side'; did you mean 'sides'\? allowed: inner, kind, sides",
    ),
    ({"name": "x", "form": {"kind": "square", "sides": [1]}}, r"field 'form.sides' got \[1\]: needs 2 values or more"),
    ({"name": "x", "form": {"kind": "square", "sides": [1, "a"]}}, "field 'form.sides.1' got 'a'"),
    ({"name": "x", "form": {"kind": "square", "sides": [1, 2]}}, "field 'form': the sides must be equal$"),
    ({"name": "x", "form": {"kind": "round", "radius": float("nan")}}, "field 'form.radius' got nan: .*finite"),
    ({"name": "x", "form": 3}, "field 'form' got 3: "),
    (
        {"name": "x", "keep": "al"},
        "field 'keep' got 'al': input should be 'ends' or 'all' or input should be a valid int",
    ),
    ({"name": "x", "keep": {"a": 1}}, "field 'keep' got fields a: "),
    (
        {"name": "x", "notes": {"first": {"kind": "round", "radus": 1}}},
        r"field 'notes.first.radus'; did you mean 'radius'",
    ),
    ([1], "expected fields"),
    (None, "expected fields"),
    ({"name": object()}, "no plain data"),
]


@pytest.mark.parametrize(("mapping", "pattern"), BAD)
def test_errors_name_the_field(mapping: Any, pattern: str) -> None:
    with pytest.raises(UsageError, match=pattern) as caught:
        Outer.parse(mapping, "file.yaml")
    message = str(caught.value)
    assert message.startswith("file.yaml: ")
    assert "\n" not in message
    assert len(message) < 300


def test_what_depends_on_several_fields_is_said_without_the_fields() -> None:
    with pytest.raises(UsageError) as caught:
        Square.parse({"kind": "square", "sides": [1, 2]}, "here")
    assert str(caught.value) == "here: the sides must be equal"


def test_a_config_made_in_python_is_refused_in_the_same_words() -> None:
    with pytest.raises(UsageError, match=r"^Inner: field 'rate' got -1.0: .*greater than 0$"):
        Inner(rate=-1.0)
    with pytest.raises(UsageError, match=r"^Inner: unknown field 'rte'; did you mean 'rate'\?"):
        Inner(rte=1.0)  # type: ignore[call-arg]


def test_override() -> None:
    base = dump(Outer(name="x"))
    new = override(base, ["inner.rate=1e-4", "kind=b", "shape=[5, 6]", "flag=true", "other=null", "name=a=b"])
    assert new["inner"]["rate"] == 1e-4
    assert (new["kind"], new["shape"], new["flag"], new["other"], new["name"]) == (
        "b",
        [5, 6],
        True,
        None,
        "a=b",
    )
    assert base["inner"]["rate"] == 1e-3
    assert Outer.parse(new, "here").inner.rate == 1e-4


@pytest.mark.parametrize(
    ("assignment", "pattern"),
    [
        ("inner.rat=1", r"unknown setting 'inner.rat'; did you mean inner\.rate"),
        ("rate=1", r"did you mean inner\.rate"),
        ("nonsense=1", "unknown setting 'nonsense'"),
        ("inner.rate.deep=1", "unknown setting"),
        ("inner", "expected key=value"),
        ("=3", "expected key=value"),
        ("name=[1", "not readable as YAML"),
    ],
)
def test_override_errors(assignment: str, pattern: str) -> None:
    with pytest.raises(UsageError, match=pattern) as caught:
        override(dump(Outer(name="x")), [assignment])
    assert "\n" not in str(caught.value)


def test_yaml_numbers() -> None:
    values = parse_yaml("[1e-3, 1.5e6, 1E5, .5e1, -2e-2, 3, 0.5, 1e, e5, yes, 2e3x]", "t")
    assert values[:7] == [1e-3, 1.5e6, 1e5, 5.0, -2e-2, 3, 0.5]
    assert values[7:9] == ["1e", "e5"]
    assert values[10] == "2e3x"
    with pytest.raises(UsageError, match="here"):
        parse_yaml("!!python/object/apply:os.system ['true']", "here")
    with pytest.raises(UsageError):
        parse_yaml("a: [", "here")


class Grown(Config):
    name: str
    wide: Annotated[float, Added()] = 1.0
    inner: Annotated[Inner | None, Added()] = None


def test_an_added_field_is_left_out_at_its_default() -> None:
    assert dump(Grown(name="x")) == {"name": "x"}
    assert dump(Grown(name="x", wide=2.0)) == {"name": "x", "wide": 2.0}
    for config in (Grown(name="x"), Grown(name="x", wide=2.0, inner=Inner())):
        assert Grown.parse(dump(config), "here") == config


def test_an_added_field_is_left_out_within_another_config() -> None:
    class Holder(Config):
        grown: Grown
        several: tuple[Grown, ...]

    holder = Holder(grown=Grown(name="x"), several=(Grown(name="y"), Grown(name="z", wide=3.0)))
    assert dump(holder) == {"grown": {"name": "x"}, "several": [{"name": "y"}, {"name": "z", "wide": 3.0}]}
    assert Holder.parse(dump(holder), "here") == holder
