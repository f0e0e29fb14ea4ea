import math
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from levels import at_every_level
from masks import assert_same, gallery, label_maps, scipy_map
from torch.utils.data import DataLoader, Dataset

from boundaryloss import signed_distance_map
from boundaryloss.distance import op, reference
from boundaryloss.distance.signed import FACE_OFFSET

SPACINGS = {2: [(1, 1), (2.5, 0.7)], 3: [(1, 1, 1), (3, 0.5, 0.9)]}
DTYPES = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]


@pytest.mark.parametrize("name", gallery())
@pytest.mark.parametrize("contour", ["faces", "centers"])
def test_signed_distance_map_agrees_with_scipy(name, contour):
    mask = gallery()[name]
    for spacing in SPACINGS[mask.ndim]:
        if contour == "centers" and len(set(spacing)) > 1:
            continue
        expected = torch.from_numpy(scipy_map(mask.numpy(), spacing, contour))
        ours = at_every_level(signed_distance_map, mask[None, None], spacing=spacing, contour=contour)[0, 0]
        assert_same(ours, expected, exact=set(spacing) == {1})
        definition = reference.signed_distance(mask[None, None], 2, 1, spacing, FACE_OFFSET[contour])[0, 0]
        assert_same(definition, expected, exact=set(spacing) == {1})


@pytest.mark.parametrize("name", label_maps())
@pytest.mark.parametrize("contour", ["faces", "centers"])
@pytest.mark.parametrize("include_background", [False, True])
def test_signed_distance_map_agrees_with_the_reference_on_labels(name, contour, include_background):
    labels, classes = label_maps()[name]
    ours = at_every_level(
        signed_distance_map, labels[None], classes, contour=contour, include_background=include_background
    )
    first = 0 if include_background else 1
    expected = reference.signed_distance(
        labels[None, None], classes, first, [1.0] * labels.ndim, FACE_OFFSET[contour]
    )
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_signed_distance_map_takes_any_integer_type(dtype):
    labels, classes = label_maps()["random"]
    expected = signed_distance_map(labels[None], classes)
    assert torch.equal(signed_distance_map(labels[None].to(dtype), classes), expected)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.3, 1.7, 2.9)])
def test_signed_distance_map_background_is_minus_foreground(spacing):
    labels = (torch.rand(3, 9, 20, 33, generator=torch.Generator().manual_seed(3)) < 0.1).long()
    both = signed_distance_map(labels, 2, spacing=spacing, include_background=True)
    assert torch.equal(both[:, 0], -both[:, 1])


def test_signed_distance_map_of_one_voxel_is_half_the_smallest_spacing():
    labels = torch.zeros(1, 5, 5, 5, dtype=torch.long)
    labels[0, 2, 2, 2] = 1
    assert signed_distance_map(labels, 2, spacing=(3, 0.8, 2))[0, 0, 2, 2, 2] == pytest.approx(-0.4)


def test_signed_distance_map_treats_ignored_voxels_as_no_object():
    labels, classes = label_maps()["random"]
    ignored = torch.rand(labels.shape, generator=torch.Generator().manual_seed(4)) < 0.1
    for ignore_index in (255, -100, 3):  # outside the classes, negative, and one of the classes
        marked = labels.masked_fill(ignored, ignore_index)
        masks = torch.stack([(marked == c) & (marked != ignore_index) for c in range(classes)])[None]
        ours = signed_distance_map(marked[None], classes, include_background=True, ignore_index=ignore_index)
        assert torch.equal(ours, signed_distance_map(masks))
    two = (labels > 3).long().masked_fill(ignored, 255)[None]
    masks = torch.stack([two == 0, two == 1], dim=1)
    assert torch.equal(
        signed_distance_map(two, 2, include_background=True, ignore_index=255), signed_distance_map(masks)
    )


def test_signed_distance_map_takes_strided_and_expanded_masks():
    masks = torch.rand(2, 6, 21, 17, generator=torch.Generator().manual_seed(5)) < 0.2
    views = [masks[:, ::2, ::3, 1:], masks.transpose(2, 3), masks[:, :1].expand(-1, 4, -1, -1), masks.flip(3)]
    for view in views:
        assert torch.equal(signed_distance_map(view), signed_distance_map(view.contiguous()))


def test_signed_distance_map_does_not_depend_on_threads():
    labels = torch.randint(0, 3, (1, 24, 70, 65), generator=torch.Generator().manual_seed(6))
    labels[0, :, 10:60, 10:60] = 1
    ours = at_every_level(signed_distance_map, labels, 3, spacing=(2, 1.1, 0.9))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(5)  # more than there are slices to share out evenly
        assert torch.equal(signed_distance_map(labels, 3, spacing=(2, 1.1, 0.9)), ours)
    finally:
        torch.set_num_threads(before)


def test_signed_distance_map_of_images_side_by_side():
    labels = torch.randint(0, 2, (16, 256, 256), generator=torch.Generator().manual_seed(7))
    before, maps = torch.get_num_threads(), []
    try:
        for threads in (1, *[4] * 10):
            torch.set_num_threads(threads)
            maps.append(signed_distance_map(labels, 2))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, maps[0]) for one in maps)


def test_signed_distance_map_works_in_threads():
    labels, classes = label_maps()["blocks"]
    expected = signed_distance_map(labels[None], classes)
    with ThreadPoolExecutor(4) as pool:
        for ours in pool.map(lambda _: signed_distance_map(labels[None], classes), range(16)):
            assert torch.equal(ours, expected)


class Maps(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        labels, classes = label_maps()["random_3d"]
        return signed_distance_map(labels[None], classes)[0]


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_signed_distance_map_works_in_data_loader_workers(start):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start} here")
    Maps()[0]  # the parent has used its threads before the workers start
    loader = DataLoader(Maps(), batch_size=2, num_workers=1, multiprocessing_context=start)
    for batch in loader:
        assert torch.equal(batch[0], Maps()[0])


def test_signed_distance_map_op_passes_opcheck():
    labels = label_maps()["random"][0][None, None]
    arguments = (labels, 8, 1, [1.0, 2.0], 0.5, None)
    torch.library.opcheck(op.signed_distance, arguments)
    torch.library.opcheck(op.signed_distance, (labels.bool().expand(2, 3, -1, -1), 2, 1, [1.0, 1.0], 0.0, 1))


def test_first_map_and_loss_of_a_process_import_no_compiler():
    code = (
        "import sys, torch, boundaryloss as b; y = torch.eye(4, dtype=torch.long)[None];"
        "x = torch.zeros(1, 2, 4, 4, requires_grad=True); b.BoundaryLoss()(x, y).backward();"
        "b.distance_transform(y.bool(), spacing=(1, 1)); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_signed_distance_map_compiles_without_a_break():
    labels = label_maps()["random"][0][None]
    compiled = torch.compile(
        lambda x: signed_distance_map(x, 8, spacing=(1, 2)) * 2, fullgraph=True, backend="aot_eager"
    )
    assert torch.equal(compiled(labels), signed_distance_map(labels, 8, spacing=(1, 2)) * 2)


def test_signed_distance_map_of_an_empty_batch_is_empty():
    assert signed_distance_map(torch.zeros(0, 4, 5, dtype=torch.long), 3).shape == (0, 2, 4, 5)


def seeds_map(one_hot: np.ndarray) -> np.ndarray:
    """The transform of the seed, as it is printed there: over (batch, height, width) at once."""
    distance_transform_edt = pytest.importorskip("scipy.ndimage").distance_transform_edt
    result = np.zeros_like(one_hot)
    for c in range(one_hot.shape[1]):
        object_ = one_hot[:, c]
        if object_.any():
            background = 1.0 - object_
            outside, inside = distance_transform_edt(background), distance_transform_edt(object_)
            result[:, c] = outside * background - (inside - 1) * object_
    return result


def test_signed_distance_map_pixel_reproduces_the_seed_one_image_at_a_time_and_leaks_nothing():
    labels = torch.randint(0, 4, (3, 24, 31), generator=torch.Generator().manual_seed(7))
    labels[:, 5:20, 5:20] = torch.tensor([1, 2, 3])[:, None, None]
    one_hot = torch.nn.functional.one_hot(labels, 4).permute(0, 3, 1, 2).float().numpy()
    ours = signed_distance_map(labels, 4, contour="centers", include_background=True)
    for i in range(3):
        assert np.array_equal(ours[i : i + 1].numpy(), seeds_map(one_hot[i : i + 1]))
    assert np.abs(ours.numpy() - seeds_map(one_hot)).max() > 5  # the seed's batch is a spatial axis


LABELS = torch.zeros(1, 4, 5, dtype=torch.long)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((LABELS.float(), 2), {}, TypeError, r"labels\.long\(\)"),
        (([[0]], 2), {}, TypeError, "as_tensor"),
        ((LABELS,), {}, ValueError, "num_classes"),
        ((LABELS, 1), {}, ValueError, "at least 2"),
        ((LABELS.bool()[None], 2), {}, ValueError, "leave num_classes out"),
        ((LABELS.bool(),), {}, ValueError, r"batch, class, \*space"),
        ((LABELS[0], 2), {}, ValueError, "2-D or 3-D"),
        ((LABELS[None, None, None], 2), {}, ValueError, "2-D or 3-D"),
        ((LABELS[:, :0], 2), {}, ValueError, "at least one voxel"),
        ((LABELS, 2), {"spacing": (1,)}, ValueError, "each of the 2 spatial axes"),
        ((LABELS, 2), {"spacing": (1, 0)}, ValueError, "positive"),
        ((LABELS, 2), {"spacing": (1, -2)}, ValueError, "positive"),
        ((LABELS, 2), {"spacing": (1, float("nan"))}, ValueError, "positive"),
        ((LABELS, 2), {"spacing": (1, float("inf"))}, ValueError, "finite"),
        ((LABELS, 2), {"spacing": (1, 2), "contour": "centers"}, ValueError, "faces"),
        ((LABELS, 2), {"contour": "edge"}, ValueError, "'faces' or 'centers'"),
    ],
)
def test_signed_distance_map_refuses(arguments, keywords, error, message):
    with pytest.raises(error, match=message):
        signed_distance_map(*arguments, **keywords)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
@pytest.mark.parametrize("classes", [4, 255, 256])
def test_signed_distance_map_names_the_label_that_is_no_class(dtype, classes):
    if classes == 256 and dtype == torch.uint8:
        pytest.skip("every byte is a class")
    labels = torch.zeros(3, 6, 7, dtype=dtype)
    bad = 255 if classes < 256 else 300
    labels[1, 2, 5] = bad
    with pytest.raises(ValueError, match=rf"label {bad} at batch 1, voxel \(2, 5\).*ignore_index={bad}"):
        signed_distance_map(labels, classes)
    assert signed_distance_map(labels, classes, ignore_index=bad).isfinite().all()


def test_signed_distance_map_names_a_negative_label():
    labels = torch.zeros(1, 2, 3, 4, dtype=torch.long)
    labels[0, 1, 2, 3] = -1
    with pytest.raises(ValueError, match=r"label -1 at batch 0, voxel \(1, 2, 3\)"):
        signed_distance_map(labels, 2)


def needs_memory(gigabytes):
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return pytest.mark.skipif(free < gigabytes, reason=f"needs {gigabytes} GiB of free memory")


@pytest.mark.slow
@needs_memory(14)
def test_signed_distance_map_of_more_than_two_to_the_31_voxels():
    labels = torch.zeros(1, 46400, 46400, dtype=torch.uint8)
    labels[0, -9:-5, -30:-9] = 1
    corner = (slice(None), slice(-300, None), slice(-200, None))
    expected = signed_distance_map(labels[corner], 2)
    ours = signed_distance_map(labels, 2)
    assert ours.numel() > 2**31
    assert torch.equal(ours[:, 0][corner], expected[:, 0])
    assert float(ours[0, 0, 0, 0]) == pytest.approx(math.hypot(46391 - 0.5, 46370 - 0.5), rel=1e-6)


@pytest.mark.slow
@needs_memory(14)
def test_signed_distance_map_of_more_than_two_to_the_31_outputs():
    labels = torch.zeros(1, 2000, 2000, dtype=torch.int16)
    labels[0, 100:900, 300:700] = 599
    ours = signed_distance_map(labels, 600)
    assert ours.numel() > 2**31
    assert torch.equal(ours[:, -1], signed_distance_map((labels == 599).byte(), 2)[:, 0])
    assert not ours[:, :-1].any()


def test_signed_distance_map_takes_one_number_as_spacing():
    expected = signed_distance_map(LABELS, 2, spacing=(0.5, 0.5))
    assert torch.equal(signed_distance_map(LABELS, 2, spacing=0.5), expected)
