"""What a training does where nobody says what it should."""

from __future__ import annotations

import dataclasses

import pytest

from model.config import ModelConfig
from model.state import layout
from training.runs import WIDE_EVENTS, shape_for


def test_short_logs_get_the_narrow_shape() -> None:
    """Half the width in no more bytes; from the limit on, what ships."""
    assert shape_for(WIDE_EVENTS) == ModelConfig()
    narrow = shape_for(WIDE_EVENTS - 1)
    assert narrow.width == ModelConfig().width // 2
    assert layout(narrow).row_bytes <= layout(ModelConfig()).row_bytes


def test_settings_go_over_the_size_of_the_log() -> None:
    """A width or expansion that is named decides both; other settings leave the choice alone."""
    assert shape_for(10, {"width": 128}) == ModelConfig(width=128)
    assert shape_for(10, {"expand": 1}) == ModelConfig(expand=1)
    assert shape_for(10, {"slots": 2}) == dataclasses.replace(shape_for(10), slots=2)
    with pytest.raises(ValueError, match="width = 60 must be a multiple of heads"):
        shape_for(10, {"width": 60})
