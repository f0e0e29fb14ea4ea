"""The Triton kernels: on the GPU if there is one, else in Triton's interpreter at sizes it can bear."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gpu import DEVICE, on_gpu
from masks import gallery, label_maps

from boundaryloss import distance_transform, signed_distance_map
from boundaryloss.distance import cpu, devices, reference, trials
from boundaryloss.losses import op as loss_op

pytest.importorskip("triton")
from boundaryloss.distance import cuda

SMALL = [name for name, mask in gallery().items() if mask.numel() < 1200]
SPACINGS = {2: [(1.0, 1.0), (2.5, 0.7)], 3: [(1.0, 1.0, 1.0), (3.0, 0.5, 0.9)]}


@pytest.fixture(autouse=True)
def poison():
    """Fresh memory holds NaN, so that a voxel that no kernel writes shows."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def assert_exact(ours, theirs, spacing, face_offset=0.5):
    """To the last bit for unit spacing; between centres, sqrt(d) - 1 rounds twice."""
    exact = set(spacing) == {1.0} and face_offset == 0.5
    torch.testing.assert_close(ours.cpu(), theirs.cpu(), rtol=0 if exact else 2e-6, atol=0)


def check_mask(name, face_offset, spacing, dtype=torch.bool):
    mask = gallery()[name][None, None].to(DEVICE, dtype)
    ours, labels_fit = cuda.signed_distance(mask, 2, 1, spacing, face_offset, None)
    assert int(labels_fit)
    assert_exact(ours, reference.signed_distance(mask, 2, 1, spacing, face_offset), spacing, face_offset)


@pytest.mark.parametrize("name", SMALL)
def test_kernels_agree_with_the_reference(name):
    dimensions = gallery()[name].ndim
    check_mask(name, 0.5, SPACINGS[dimensions][0])
    if name in ("touching_the_edge", "flat_3d"):
        check_mask(name, 0.5, SPACINGS[dimensions][1], torch.uint8)
        check_mask(name, 0.0, SPACINGS[dimensions][0], torch.int64)


def test_kernels_search_across_blocks_of_slices():
    mask = torch.zeros(1, 1, 19, 2, 5, dtype=torch.bool, device=DEVICE)
    mask[..., 1, 0, 4] = mask[..., 17, 1, 0] = True
    ours, _ = cuda.signed_distance(mask, 2, 1, (1.0, 1.0, 1.0), 0.5, None)
    assert torch.equal(ours, reference.signed_distance(mask, 2, 1, (1.0, 1.0, 1.0), 0.5))


@pytest.mark.slow
@pytest.mark.parametrize("name", gallery())
@pytest.mark.parametrize(("face_offset", "uneven"), [(0.5, 0), (0.5, 1), (0.0, 0)])
def test_kernels_agree_with_the_reference_on_the_whole_gallery(name, face_offset, uneven):
    check_mask(name, face_offset, SPACINGS[gallery()[name].ndim][uneven])


@pytest.mark.parametrize("ignore_index", [None, 2, 255])
def test_kernels_take_labels(ignore_index):
    labels = torch.randint(0, 3, (2, 1, 4, 34), generator=torch.Generator().manual_seed(0))
    if ignore_index is not None:
        labels[torch.rand(labels.shape, generator=torch.Generator().manual_seed(1)) < 0.2] = ignore_index
    labels = labels.to(DEVICE)[..., 1:]  # not contiguous
    ours, labels_fit = cuda.signed_distance(labels, 3, 0, (1.0, 1.0), 0.5, ignore_index)
    assert int(labels_fit)
    assert torch.equal(ours, reference.signed_distance(labels, 3, 0, (1.0, 1.0), 0.5, ignore_index))


@pytest.mark.parametrize(("bad", "dtype"), [(3, torch.uint8), (-1, torch.int8), (2**32, torch.int64)])
def test_kernels_notice_a_label_that_is_no_class(bad, dtype):
    labels = torch.zeros(2, 1, 3, 4, dtype=dtype, device=DEVICE)
    labels[1, 0, 2, 3] = bad
    assert not int(cuda.signed_distance(labels, 3, 1, (1.0, 1.0), 0.5, None)[1])
    assert int(cuda.signed_distance(labels, 3, 1, (1.0, 1.0), 0.5, bad)[1])


def test_kernels_give_the_distance_transform():
    mask = torch.rand(2, 4, 35, generator=torch.Generator().manual_seed(2)).to(DEVICE) < 0.9
    mask[1] = True  # no background: infinite
    assert torch.equal(cuda.distance_transform(mask, (1.0, 1.0)), reference.distance_transform(mask, (1, 1)))
    volume = gallery()["one_voxel_3d"].logical_not()[None].to(DEVICE)
    spacing = (2.0, 0.5, 0.7)
    assert_exact(
        cuda.distance_transform(volume, spacing), reference.distance_transform(volume, spacing), spacing
    )


def test_kernels_pass_their_trial():
    trials.maps(torch.device(DEVICE))


def resource_usage(capability, *names):
    script = Path(__file__).parent.parent / "kernels_ahead_of_time.py"
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    ran = subprocess.run(
        [sys.executable, script, capability, *names], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="ptxas comes with Triton for Linux")
@pytest.mark.parametrize(
    ("capability", "names"),
    [
        ("90", ("first pass 512 *u8", "signed 512", "loss 4 True *bf16")),
        pytest.param("80", (), marks=pytest.mark.slow),
        pytest.param("90", (), marks=pytest.mark.slow),
    ],
)
def test_kernels_compile_for_a_gpu_without_spilling_registers(capability, names):
    told = resource_usage(capability, *names)
    assert len(told) >= max(len(names), 1)
    assert [line for line in told if "STACK:0 " not in line or "LOCAL:0 " not in line] == []


def random_labels(seed, device):
    """Labels, classes, spacing, convention: any shape, density and grain."""
    g = torch.Generator().manual_seed(seed)

    def draw(*choices):
        return choices[int(torch.randint(len(choices), (), generator=g))]

    longest = draw(12, 40, 130) if draw(2, 3) == 2 else draw(5, 17, 40)
    shape = torch.randint(1, longest + 1, (2 if longest in (12, 130) else 3,), generator=g).tolist()
    classes, grain = draw(2, 3, 5), draw(1, 1, 3, 8)
    coarse = [-(-n // grain) for n in shape]
    labels = torch.randint(1, classes, (draw(1, 2), *coarse), generator=g)
    labels *= torch.rand(labels.shape, generator=g) < draw(0.003, 0.05, 0.5, 0.97, 1.0)
    for axis in range(1, labels.ndim):
        labels = labels.repeat_interleave(grain, axis).narrow(axis, 0, shape[axis - 1])
    contour = draw("faces", "faces", "centers")
    spacing = [1.0] * len(shape) if draw(0, 1) else [draw(0.3, 1.0, 2.0, 5.5) for _ in shape]
    spacing = spacing[:1] * len(shape) if contour == "centers" else spacing
    dtype = draw(torch.uint8, torch.int16, torch.int32, torch.int64)
    return labels.to(device, dtype), classes, spacing, contour


@on_gpu
def test_kernels_serve_the_gpu(device):
    """What comes from the CPU would be right as well, and pass all other tests."""
    where = torch.zeros(1, device=device).device
    for kernels in (devices.MAPS, devices.COMPONENTS, loss_op.KERNELS):
        assert kernels.verdict(where) is None


@on_gpu
def test_signed_distance_map_on_the_gpu_agrees_on_10000_random_cases(device):
    for seed in range(10_000):
        labels, classes, spacing, contour = random_labels(seed, "cpu")
        expected = signed_distance_map(labels, classes, spacing=spacing, contour=contour)
        ours = signed_distance_map(labels.to(device), classes, spacing=spacing, contour=contour).cpu()
        exact = set(spacing) == {1.0} and contour == "faces"
        torch.testing.assert_close(ours, expected, rtol=0 if exact else 1e-5, atol=0, msg=f"seed {seed}")


LARGE = {  # shape, side of the blocks that labels come in
    "16 x 512^2": ((16, 512, 512), 32),
    "4096^2": ((1, 4096, 4096), 512),
    "4095 x 4093": ((1, 4095, 4093), 100),
    "2 x 128^3": ((2, 128, 128, 128), 16),
    "512^3": ((1, 512, 512, 512), 128),
    "3 x 517 x 65": ((3, 3, 517, 65), 13),
}


@on_gpu
@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("density", [1e-4, 0.5])
def test_signed_distance_map_on_the_gpu_agrees_at_full_size(name, density, device):
    shape, side = LARGE[name]
    g = torch.Generator().manual_seed(3)
    coarse = (torch.rand([shape[0], *[-(-n // side) for n in shape[1:]]], generator=g) < 0.3).to(torch.uint8)
    for axis in range(1, len(shape)):
        coarse = coarse.repeat_interleave(side, axis).narrow(axis, 0, shape[axis])
    for labels in (coarse, (torch.rand(shape, generator=g) < density).to(torch.uint8)):
        expected = cpu.signed_distance(labels[:, None], 2, 1, [1.0] * (len(shape) - 1), 0.5, None)
        ours = signed_distance_map(labels.to(device), 2).cpu()
        # Beyond 2048 voxels squares no longer fit float32.
        near = expected.abs() < 2048
        assert torch.equal(ours[near], expected[near])
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=0)


@on_gpu
def test_signed_distance_map_on_the_gpu_reaches_beyond_two_to_the_31_voxels(device):
    if torch.cuda.get_device_properties(device).total_memory < 40 << 30:
        pytest.skip("needs 40 GiB of GPU memory")
    labels = torch.zeros(17, 512, 512, 512, dtype=torch.uint8, device=device)
    labels[:, 100:120, 300:310, 50:70] = 1
    labels[16, 400:401, 10:12, 500:] = 1
    ours = signed_distance_map(labels, 2)
    for i in (0, 15, 16):
        assert torch.equal(ours[i : i + 1], signed_distance_map(labels[i : i + 1], 2))


@on_gpu
def test_signed_distance_map_on_the_gpu_is_deterministic_and_waits_for_nothing(device):
    labels = torch.randint(0, 4, (2, 33, 70, 65), generator=torch.Generator().manual_seed(4)).to(device)
    masks, spacing = labels.unsqueeze(1) == torch.arange(4, device=device).view(-1, 1, 1, 1), (1.0, 2.0, 0.7)
    first = signed_distance_map(labels, 4, spacing=spacing), distance_transform(masks, spacing=spacing)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            assert_equal = torch.ops.aten._assert_async.msg
            for a, b in zip(
                first,
                (signed_distance_map(labels, 4, spacing=spacing), distance_transform(masks, spacing=spacing)),
                strict=True,
            ):
                assert_equal((a == b).all(), "another result for the same labels")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()


@on_gpu
def test_signed_distance_map_on_the_gpu_compiles_without_a_break(device):
    labels = label_maps()["blocks"][0][None].to(device)
    compiled = torch.compile(lambda x: signed_distance_map(x, 7, spacing=(1, 2)) * 2, fullgraph=True)
    assert torch.equal(compiled(labels), signed_distance_map(labels, 7, spacing=(1, 2)) * 2)


@on_gpu
def test_signed_distance_map_on_the_gpu_refuses_a_label_that_is_no_class(device):
    program = (
        "import torch, boundaryloss as b; x = torch.full((1, 4, 5), 3, device='cuda');"
        "b.signed_distance_map(x, 3); torch.cuda.synchronize()"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode
    assert "assert" in ran.stderr
