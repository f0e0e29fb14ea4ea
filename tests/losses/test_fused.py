"""The fused boundary loss against the ordinary one: on the GPU, or in Triton's interpreter without one."""

import pytest
import torch
from gpu import DEVICE, captured, on_gpu

from boundaryloss import BoundaryLoss, RegionBoundaryLoss
from boundaryloss.losses import op as loss_op

pytest.importorskip("triton")


def make(shape, dtype=torch.float32, seed=0, device=DEVICE):
    g = torch.Generator().manual_seed(seed)
    logits = (2 * torch.randn(shape, generator=g)).to(device, dtype)
    return logits, torch.randint(0, max(shape[1], 2), (shape[0], *shape[2:]), generator=g).to(device)


def value_and_gradient(loss, logits, target, **keywords):
    logits = logits.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    value = loss(logits, target, **keywords)
    value.backward()
    return value.detach(), logits.grad


@pytest.fixture
def fused(monkeypatch):
    """The kernels serve, though they may have to run in the interpreter."""
    monkeypatch.setattr(BoundaryLoss, "_is_ordinary", lambda *_: True)
    if DEVICE == "cpu":
        monkeypatch.setitem(loss_op.KERNELS._verdicts, torch.device("cpu"), None)


@pytest.fixture
def both(fused, monkeypatch):
    """`both(loss, logits, target)` is ((value, gradient) fused, (value, gradient) over a map in memory)."""
    torch.use_deterministic_algorithms(True, warn_only=True)  # fresh memory holds NaN

    def run(*arguments, **keywords):
        ours = value_and_gradient(*arguments, **keywords)
        with monkeypatch.context() as patch:
            patch.setattr(BoundaryLoss, "_is_ordinary", lambda *_: False)
            return ours, value_and_gradient(*arguments, **keywords)

    yield run
    torch.use_deterministic_algorithms(False)


def assert_close(ours, theirs):
    (value, gradient), (expected, slope) = ours, theirs
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    assert gradient.dtype == slope.dtype
    ulp = {torch.float32: 1e-5, torch.bfloat16: 1.6e-2, torch.float16: 2e-3}[gradient.dtype]
    least = {torch.float16: 6e-8}.get(gradient.dtype, 0)  # the step of its smallest numbers
    torch.testing.assert_close(gradient, slope, rtol=ulp, atol=max(least, 1e-6 * float(slope.abs().max())))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reduction": "sum", "as_distance": True, "include_background": True},
        {"contour": "centers", "spacing": (2, 2)},
    ],
)
def test_fused_loss_is_the_ordinary_one(activation, options, both):
    loss = BoundaryLoss(activation=activation, **options)
    logits, labels = make((2, 3, 4, 5))
    assert_close(*both(loss, logits, labels))
    masks = torch.rand(logits.shape, generator=torch.Generator().manual_seed(1)).to(DEVICE) < 0.4
    assert_close(*both(loss, logits, masks))


@pytest.mark.parametrize("shape", [(1, 2, 3, 9, 2), (1, 5, 3, 18), (1, 8, 9, 3)])
def test_fused_loss_takes_any_shape(shape, both):
    spacing = (0.5, 2.0, 0.7)[: len(shape) - 2]
    assert_close(*both(BoundaryLoss(), *make(shape), spacing=spacing))


def test_fused_loss_takes_a_single_channel(both):
    logits, labels = make((2, 1, 4, 5))
    assert_close(*both(BoundaryLoss(activation="sigmoid"), logits, labels))
    assert_close(*both(BoundaryLoss(activation="sigmoid"), logits, labels.float()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fused_loss_takes_half_precision_and_any_memory_format(dtype, both):
    logits, labels = make((1, 3, 4, 6), dtype)
    loss = BoundaryLoss()
    for view in (logits, logits.to(memory_format=torch.channels_last), logits.transpose(2, 3)[..., ::2]):
        target = labels if view.shape == logits.shape else labels.transpose(1, 2)[..., ::2]
        ours, theirs = both(loss, view, target)
        assert_close(ours, theirs)
        assert ours[1].stride() == theirs[1].stride()


def test_fused_loss_keeps_small_float16_gradients_and_large_distances(both):
    logits, labels = make((1, 2, 4, 5), torch.float16)
    loss = BoundaryLoss(spacing=(3e4, 1e5))  # the gradient of the sum exceeds 65504
    ours, theirs = both(lambda x, y: loss(x, y) * 2.0**-12, logits, labels)
    assert ours[1].isfinite().all()
    assert ours[1].any()
    assert_close(ours, theirs)


def test_fused_loss_propagates_nan_logits(both):
    logits, labels = make((1, 2, 5, 6))
    logits[0, 1, 2, 3] = torch.nan
    (value, gradient), _ = both(BoundaryLoss(), logits, labels)
    assert value.isnan()
    assert gradient[0, :, 2, 3].isnan().all()


def test_fused_loss_has_a_second_derivative(fused, monkeypatch):
    logits, labels = make((1, 3, 4, 5))

    def curvature():
        x = logits.clone().requires_grad_()
        (slope,) = torch.autograd.grad(BoundaryLoss()(x, labels), x, create_graph=True)
        return torch.autograd.grad((slope**2).sum(), x)[0]

    with monkeypatch.context() as patch:
        patch.setattr(BoundaryLoss, "_is_ordinary", lambda *_: False)
        expected = curvature()
    assert expected.any()
    torch.testing.assert_close(curvature(), expected)


def test_fused_loss_refuses_a_label_that_is_no_class(fused):
    if DEVICE == "cuda":
        pytest.skip("a device-side assertion would end this process")
    logits, labels = make((1, 2, 4, 5))
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        BoundaryLoss()(logits, labels + 1)


@pytest.mark.parametrize(
    ("options", "keywords", "ordinary"),
    [
        ({}, {}, True),
        ({"activation": None}, {}, False),
        ({"reduction": "none"}, {}, False),
        ({}, {"mask": torch.ones(2, 4, 5, dtype=torch.bool, device="meta")}, False),
    ],
)
def test_fused_loss_is_for_the_ordinary_case(options, keywords, ordinary):
    mask = keywords.get("mask")
    is_ordinary = BoundaryLoss(**options)._is_ordinary
    assert is_ordinary(make((2, 3, 4, 5), device="meta")[0], mask) == ordinary
    assert not is_ordinary(make((2, 3, 4, 5), torch.float64, device="meta")[0], mask)
    assert not is_ordinary(make((2, 9, 4, 5), device="meta")[0], mask)
    assert not is_ordinary(make((0, 3, 4, 5), device="meta")[0], mask)
    assert not is_ordinary(make((2, 3, 4, 5), device="cpu")[0], mask)


def test_fused_loss_ops_pass_opcheck(fused):
    logits, labels = make((1, 2, 3, 4))
    arguments = (logits.requires_grad_(), labels[:, None], 2, 1, [1.0, 2.0], 0.5, True, False)
    torch.library.opcheck(loss_op.sum_and_gradient, arguments)
    torch.library.opcheck(
        loss_op._scaled, (logits.detach().bfloat16(), torch.tensor(0.3, device=DEVICE), False)
    )


def test_fused_loss_kernels_pass_their_trial():
    loss_op._trial(torch.device(DEVICE))


def test_fused_loss_compiles_without_a_break(fused):
    loss, (logits, labels) = BoundaryLoss(), make((1, 3, 4, 5))
    compiled = torch.compile(
        loss, fullgraph=True, backend="inductor" if DEVICE == "cuda" else "aot_eager", dynamic=False
    )
    assert_close(value_and_gradient(compiled, logits, labels), value_and_gradient(loss, logits, labels))


SHAPES = [(16, 4, 512, 512), (2, 4, 128, 128, 128), (2, 2, 65, 127, 129), (3, 8, 129, 257), (2, 1, 300, 200)]


@on_gpu
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_fused_loss_on_the_gpu_is_the_ordinary_one_at_full_size(shape, dtype, device, both):
    logits, labels = make(shape, dtype)
    assert_close(*both(BoundaryLoss(activation="sigmoid" if shape[1] == 1 else "softmax"), logits, labels))
    blocks = labels[(..., *[slice(None, None, 16)] * (len(shape) - 2))]
    for axis in range(1, len(shape) - 1):
        blocks = blocks.repeat_interleave(16, axis).narrow(axis, 0, shape[axis + 1])
    assert_close(*both(BoundaryLoss(activation="sigmoid", as_distance=True), logits, blocks))


@on_gpu
def test_fused_loss_on_the_gpu_is_deterministic_and_waits_for_nothing(device):
    logits, labels = make((2, 4, 37, 65, 70), torch.bfloat16)
    loss = BoundaryLoss()
    first = value_and_gradient(loss, logits, labels)
    torch.cuda.set_sync_debug_mode("error")
    try:
        again = [value_and_gradient(loss, logits, labels) for _ in range(5)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for value, gradient in again:
        assert torch.equal(value, first[0])
        assert torch.equal(gradient, first[1])


@on_gpu
def test_fused_loss_on_the_gpu_is_captured_in_a_cuda_graph(device):
    loss, (logits, labels) = BoundaryLoss(), make((2, 3, 65, 70))
    graph, value = captured(loss, logits, labels)
    fresh, others = make((2, 3, 65, 70), seed=5)
    logits.data.copy_(fresh)
    labels.copy_(others)
    graph.replay()
    expected = value_and_gradient(loss, fresh, others)
    assert torch.equal(value, expected[0])
    assert torch.equal(logits.grad, expected[1])


@on_gpu
def test_fused_loss_on_the_gpu_works_under_autocast(device):
    network = torch.nn.Conv2d(1, 3, 3, padding=1).to(device)
    images, labels = torch.randn(2, 1, 40, 50, device=device), make((2, 3, 40, 50))[1]
    loss = RegionBoundaryLoss(torch.nn.CrossEntropyLoss())
    loss.to(device).set_epoch(50)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cuda", dtype=dtype):
            value = loss(network(images), labels)
        assert value.dtype == torch.float32
        value.backward()
        assert network.weight.grad.isfinite().all()
