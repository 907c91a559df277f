"""The options of all checks of functions stand once, and every check shows them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.errors import OptionError
from fastbp.function.methods.options import DEFAULTS, CheckOptions, Options, checked_options

pytestmark = pytest.mark.small

CHECKS = [fastbp.check_gradient, fastbp.check_vjp, fastbp.check_jvp]


@pytest.mark.parametrize("check", CHECKS)
def test_signature_and_docstring_show_every_option(check: Callable[..., Any]) -> None:
    parameters = inspect.signature(check).parameters
    assert not any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    for name, default in DEFAULTS.items():
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[name].default == default
    text = inspect.getdoc(check)
    assert text is not None
    assert "\nbudget : float\n    Seconds that" in text
    shared = "bounds, scale, vectorized, workers, progress"
    assert f"\n{shared}\n    As in `numerical_gradient`.\n\nReturns\n" in text
    assert "**options" not in text


def test_what_is_declared_has_a_default_and_is_validated() -> None:
    names = list(CheckOptions.__annotations__)
    assert list(DEFAULTS) == names
    assert [field.name for field in fields(Options)] == names


def ones(x: np.ndarray, *_: Any) -> np.ndarray:
    return np.ones_like(x)


@pytest.mark.parametrize("check", CHECKS)
def test_an_unknown_option_is_named(check: Callable[..., Any]) -> None:
    with pytest.raises(OptionError, match=r"^tolerance is no option: there are method, rtol, "):
        check(ones, ones, np.ones(2), tolerance=1e-3)


def test_without_options_the_defaults_are_in_force() -> None:
    options = checked_options({})
    assert (options.method, options.rtol, options.budget, options.most) == ("auto", None, None, 10)
    assert (options.seconds_for_every, options.max_evaluations) == (10.0, None)
    assert 0 <= options.seed < 2**32
    assert checked_options({"seed": 7}).seed == 7
