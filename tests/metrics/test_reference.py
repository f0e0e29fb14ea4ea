import pytest
import torch
from levels import at_every_level

from boundaryloss.metrics import cpu, reference


def random_masks(shape, generator):
    shares = torch.rand(2, generator=generator) ** 3
    return [torch.rand(1, 1, *shape, generator=generator) < share for share in shares]


@pytest.mark.parametrize("contour", ["faces", "centers", "surfels"])
@pytest.mark.parametrize(
    "shape", [(5, 7), (1, 130), (67, 3), (2, 3, 4), (5, 1, 70), (11, 13, 9), (3, 4, 197)]
)
@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("threads", [1, 3])
def test_native_code_measures_what_the_definition_says(contour, shape, isotropic, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    generator = torch.Generator().manual_seed(8)
    spacing = [1.0] * len(shape) if isotropic else [2.3, 0.7, 1.1][: len(shape)]
    for tolerance in (0.0, 0.9, 40.0):
        masks = random_masks(shape, generator)
        expected = reference.measure(*masks, (0, 0, 1), contour, spacing, tolerance)
        found = cpu.measure(*masks, (0, 0, 1), contour, spacing, tolerance)
        assert (found.band_shared, found.band_either) == (expected.band_shared, expected.band_either)
        for side in ("to_truth", "to_prediction"):
            of, true = getattr(found, side), getattr(expected, side)
            assert of.area() == pytest.approx(true.area())
            for percentile in (0, 10, 50, 95, 100) if len(true.values) else ():
                assert of.percentile(percentile, interpolated=False) == pytest.approx(
                    true.percentile(percentile, interpolated=False)
                )


@pytest.mark.parametrize("contour", ["faces", "centers", "surfels"])
@pytest.mark.parametrize("shape", [(1, 300), (300, 2), (2, 300, 2), (90, 1, 3), (40, 2, 270)])
def test_native_code_finds_what_is_far(contour, shape):
    spacing = [0.3, 1.9, 0.8][: len(shape)]
    _check_far(contour, shape, spacing)


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_native_code_takes_any_unit(unit):
    _check_far("faces", (40, 3, 90), [0.3 * unit, 0.7 * unit, 1.1 * unit])


def _check_far(contour, shape, spacing):
    prediction, truth = torch.zeros(2, 1, 1, *shape, dtype=torch.bool)
    prediction.flatten()[0] = truth.flatten()[-1] = truth.flatten()[0] = True
    prediction.flatten()[prediction.numel() // 2 :: 97] = True
    unit = spacing[0]
    expected = reference.measure(prediction, truth, (0, 0, 1), contour, [s / unit for s in spacing], 1.0)
    found = cpu.measure(prediction, truth, (0, 0, 1), contour, spacing, 1.0)
    for side in ("to_truth", "to_prediction"):
        of, true = getattr(found, side), getattr(expected, side)
        for percentile in (5, 20, 60, 100):
            assert of.percentile(percentile, interpolated=False) / unit == pytest.approx(
                true.percentile(percentile, interpolated=False)
            )


@pytest.mark.parametrize("contour", ["faces", "centers", "surfels"])
def test_native_code_measures_alike_on_any_processor(contour):
    generator = torch.Generator().manual_seed(10)
    masks = (torch.rand(2, 1, 1, 41, 60, 70, generator=generator) < 0.001).unbind()

    def numbers():
        found = cpu.measure(*masks, (0, 0, 1), contour, [0.3, 1.1, 0.7], 2.0)
        bands = torch.tensor([found.band_shared, found.band_either])
        sides = (found.to_truth, found.to_prediction)
        return torch.cat([*(part for side in sides for part in (side.values, side.areas)), bands])

    at_every_level(numbers)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_native_code_reads_labels_of_any_type_and_stride(dtype):
    generator = torch.Generator().manual_seed(9)
    maps = torch.randint(0, 4, (2, 2, 1, 6, 70, 9), generator=generator).to(dtype)
    expected = cpu.measure(*(maps == 3), (1, 0, 1), "faces", [1.0, 2.0, 3.0], 1.0)
    for layout in (maps, maps.transpose(-1, -2).contiguous().transpose(-1, -2)):
        found = cpu.measure(*layout, (1, 0, 3), "faces", [1.0, 2.0, 3.0], 1.0)
        assert torch.equal(found.to_truth.values, expected.to_truth.values)
        assert torch.equal(found.to_truth.areas, expected.to_truth.areas)
