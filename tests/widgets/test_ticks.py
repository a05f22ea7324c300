"""Ticks of the charts lie where their labels say."""

from __future__ import annotations

import json
import shutil
import subprocess

import bqplot
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from convscope._ticks import key, label_ticks, round_ticks

ENDS = st.tuples(st.floats(-1e4, 1e4), st.floats(1e-3, 1e5)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(max_examples=200, deadline=None)
@given(ends=ENDS, most=st.integers(2, 12))
@example(ends=(1.0, 40042.0), most=2)  # between two multiples of the step that the range asks for
def test_round_ticks_lie_in_the_range_at_equal_steps_and_say_their_values(ends, most):  # type: ignore[no-untyped-def]
    low, high = ends
    ticks = round_ticks(low, high, most)
    values = np.array(list(ticks))
    assert 1 <= len(values) <= most + 2
    slack = 1e-6 * (high - low)
    assert values[0] >= low - slack
    assert values[-1] <= high + slack
    if len(values) > 1:
        steps = np.diff(values)
        assert np.allclose(steps, steps[0], rtol=1e-4)
        assert len(set(ticks.values())) == len(ticks)
        for value, label in ticks.items():
            assert float(label.replace(",", "")) == pytest.approx(value, abs=0.006 * abs(value) + 1e-9)


@given(most=st.integers(0, 40))
def test_a_square_count_has_its_own_label(most):  # type: ignore[no-untyped-def]
    axis = bqplot.Axis(scale=bqplot.LinearScale(), tick_format="g")
    label_ticks(axis, {float(np.sqrt(count)): str(count) for count in range(most + 1)})
    for place, count in zip(axis.tick_values, range(most + 1), strict=True):
        assert axis.tick_labels[key(place)] == str(count)
    axis.close()


@pytest.mark.skipif(shutil.which("node") is None, reason="JavaScript's own way to write numbers is asked of Node.js")
def test_keys_are_what_javascript_writes():  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    numbers = [0.0, 2.0, 4.0, 1e21, 1e20, 1e-6, 1e-7, -0.5, 1 / 3, *np.sqrt(np.arange(30.0))]
    numbers += [float(one) for one in rng.standard_normal(50) * 10.0 ** rng.integers(-12, 24, 50)]
    script = f"console.log(JSON.stringify({json.dumps(numbers)}.map(String)))"
    written = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True).stdout
    assert [key(one) for one in numbers] == json.loads(written)
