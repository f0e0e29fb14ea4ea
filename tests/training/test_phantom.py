import numpy as np
import pytest
from scipy import ndimage

from boundaryloss.training.data.phantom import phantom


def test_phantom_is_deterministic_and_a_longer_one_begins_with_the_shorter():
    images, labels = phantom(6, seed=4)
    again, same = phantom(3, seed=4)
    np.testing.assert_array_equal(images[:3], again)
    np.testing.assert_array_equal(labels[:3], same)
    assert not np.array_equal(images[:3], phantom(3, seed=5)[0])


@pytest.mark.parametrize("size", [96, 128])
def test_phantom_has_the_promised_shapes_and_shares(size):
    images, labels = phantom(100, seed=0, size=size)
    assert (images.shape, images.dtype) == ((100, 1, size, size), np.float32)
    assert (labels.shape, labels.dtype) == ((100, size, size), np.uint8)
    assert images.min() >= 0 and images.max() <= 1
    assert set(np.unique(labels)) == {0, 1}
    assert 0.0025 < labels.mean() < 0.0045
    assert 0.1 < (labels.sum((1, 2)) == 0).mean() < 0.3


def test_phantom_lesions_are_tiny():
    _, labels = phantom(60, seed=1)
    components, count = ndimage.label(labels, np.pad(np.ones((1, 3, 3)), ((1, 1), (0, 0), (0, 0))))
    areas = np.bincount(components.ravel())[1:]
    assert count > 60
    assert areas.min() >= 5 and areas.max() <= np.pi * 3.9**2


def test_phantom_look_alikes_are_as_bright_as_lesions_and_outnumber_them():
    images, labels = phantom(40, seed=2)
    inside = images[:, 0][labels == 1]
    bright = (images[:, 0] > np.quantile(inside, 0.25)) & (labels == 0)
    assert bright.sum() > 2 * (labels == 1).sum()


@pytest.mark.parametrize("arguments", [{"count": -1}, {"count": 1, "size": 32}])
def test_phantom_rejects_what_it_cannot_draw(arguments):
    with pytest.raises(ValueError, match="phantom"):
        phantom(**arguments, seed=0)
