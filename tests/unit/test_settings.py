from typing import Annotated, Literal

import pydantic
import pytest
from pydantic import Field

from deepfreak.models.svm import SVM
from deepfreak.settings import Positive, one_line, settings


@settings
class Inner:
    size: Positive = 1.0


@settings
class Outer:
    many: Literal["all"] | tuple[Positive, ...] | None = None
    either: Annotated[int, Field(ge=1)] | Inner = 1
    inner: Inner = Inner()
    text: str = ""


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: SVM(C=1.0, gamma=1.0, class_weight=(1, 1, 1, 1, 0)),
            "class_weight.4: Input should be greater than 0, found 0",
        ),
        (
            lambda: SVM(C=1.0, gamma=1.0, class_weight="even"),
            "class_weight: Input should be 'balanced', found 'even'",
        ),
        (
            lambda: Outer(many=(1.0, -2.0)),
            "many.1: Input should be greater than 0, found -2.0",
        ),
        (lambda: Outer(many="none"), "many: Input should be 'all', found 'none'"),
        (
            lambda: Outer(either={"size": -1}),
            "either.Inner.size: Input should be greater than 0, found -1",
        ),
        (
            lambda: Outer(inner={"size": 0}, text="x"),
            "inner.size: Input should be greater than 0, found 0",
        ),
        (lambda: Outer(text=3), "text: Input should be a valid string, found 3"),
    ],
)
def test_the_reason_is_that_of_what_was_meant(make, said):
    with pytest.raises(pydantic.ValidationError) as caught:
        make()
    assert one_line(caught.value) == said
