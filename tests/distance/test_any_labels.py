"""Labels that nobody would think of: any shape, type, strides and density."""

import numpy as np
import pytest
import torch
from levels import at_every_level
from masks import assert_same, scipy_map

from boundaryloss import signed_distance_map

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

DTYPES = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_signed_distance_map_agrees_with_scipy_on_any_labels(data):
    shape = data.draw(
        st.lists(st.integers(1, 40), min_size=2, max_size=2)
        | st.lists(st.integers(1, 12), min_size=3, max_size=3)
    )
    classes = data.draw(st.integers(2, 5))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    density = data.draw(st.sampled_from([0.003, 0.05, 0.5, 0.97]))
    labels = torch.from_numpy(rng.integers(1, classes, shape) * (rng.random(shape) < density))
    labels = labels.to(data.draw(st.sampled_from(DTYPES)))
    order = data.draw(st.permutations(range(len(shape))))
    labels = labels.permute(*order).contiguous().permute(*np.argsort(order).tolist())  # any strides
    if data.draw(st.booleans()):
        labels = labels.flip(-1)[..., :: data.draw(st.integers(1, 2))]
    contour = data.draw(st.sampled_from(["faces", "centers"]))
    steps = st.sampled_from([1.0, 0.3, 2.0, 5.5])
    spacing = (
        tuple(data.draw(steps) for _ in shape) if contour == "faces" else (data.draw(steps),) * len(shape)
    )
    ours = at_every_level(signed_distance_map, labels[None], classes, spacing=spacing, contour=contour)
    for label in range(1, classes):
        expected = scipy_map((labels == label).numpy(), spacing, contour)
        assert_same(ours[0, label - 1], torch.from_numpy(expected), exact=set(spacing) == {1.0})
