"""Values come back from plain data as they were, and other data is refused."""

import contextlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit.plain import data_of, value_of
from i2kit.providers.local.design.desired import Desired


@dataclass(frozen=True)
class Round:
    radius: float
    fill: Literal["red", "blue"] = "red"


@dataclass(frozen=True)
class Square:
    side: int | str


@dataclass(frozen=True)
class Drawing:
    name: str | None
    shapes: tuple[Round | Square, ...]
    sizes: tuple[tuple[str, int], ...] = ()
    before: "tuple[Drawing, ...]" = ()


shapes = st.builds(Round, st.floats(allow_nan=False), st.sampled_from(["red", "blue"])) | st.builds(
    Square, st.integers() | st.text()
)
drawings = st.recursive(
    st.builds(Drawing, st.none() | st.text(), st.lists(shapes).map(tuple)),
    lambda some: st.builds(
        Drawing,
        st.text(),
        st.just(()),
        st.lists(st.tuples(st.text(), st.integers())).map(tuple),
        st.lists(some).map(tuple),
    ),
    max_leaves=5,
)


@given(drawings)
def test_what_json_keeps_of_a_value_is_that_value(drawing: Drawing) -> None:
    assert value_of(Drawing, json.loads(json.dumps(asdict(drawing)))) == drawing


@given(drawings)
def test_what_defaults_say_is_left_out(drawing: Drawing) -> None:
    assert value_of(Drawing, json.loads(json.dumps(data_of(drawing)))) == drawing
    assert data_of(Drawing("a", (Round(1),))) == {"name": "a", "shapes": [{"radius": 1}]}


def test_a_field_that_is_missing_has_its_default() -> None:
    assert value_of(Drawing, {"name": None, "shapes": [{"radius": 1}]}) == Drawing(None, (Round(1),))


@pytest.mark.parametrize(
    "data",
    [
        *({}, [], None, {"name": "a"}, {"name": 1, "shapes": []}, {"name": "a", "shapes": {}}),
        {"name": "a", "shapes": [], "more": 1},
        {"name": "a", "shapes": [{"radius": True}]},
        {"name": "a", "shapes": [{"radius": 1.0, "fill": "green"}]},
        {"name": "a", "shapes": [], "sizes": [["a"]]},
    ],
)
def test_data_of_another_shape_is_refused(data: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        value_of(Drawing, data)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda some: st.lists(some) | st.dictionaries(st.sampled_from(["deployments", "services"]), some),
    )
)
def test_any_json_gives_a_value_or_one_of_two_errors(data: Any) -> None:
    with contextlib.suppress(TypeError, ValueError):
        value_of(Desired, data)
