"""Who serves which device: the native kernels by a detour, or the Triton kernels once they are trusted."""

import threading

import pytest
import torch
from elsewhere import FAMILIES, Capture, device_of, sound_kernels
from torch.nn import CrossEntropyLoss

from boundaryloss import (
    BoundaryLoss,
    GradientRatio,
    LogBoundaryLoss,
    RegionBoundaryLoss,
    distance_transform,
    signed_distance_map,
)
from boundaryloss.distance import devices, op
from boundaryloss.losses import op as loss_op
from boundaryloss.metrics import contour_distances

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.randint(0, 3, (2, 9, 11), generator=GENERATOR)
LOGITS = torch.randn(2, 3, 9, 11, generator=GENERATOR)
CUDA = torch.device("cuda:0")


@pytest.fixture
def device(request, monkeypatch):
    with device_of(getattr(request, "param", "cuda:0"), monkeypatch) as device:
        yield device


@pytest.fixture
def kernels(monkeypatch):
    return sound_kernels(monkeypatch)


def verdicts():
    """What is decided of the GPU."""
    return {name: family._verdicts[CUDA] for name, family in FAMILIES.items() if CUDA in family._verdicts}


def of_loss(loss, logits, labels):
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, labels)
    value.backward()
    return value.detach(), logits.grad


WORK = {  # a family of kernels, and something to compute with it
    "maps": lambda labels, logits: signed_distance_map(labels, 3, spacing=(1.0, 2.0)),
    "transform": lambda labels, logits: distance_transform(labels > 0, spacing=(1.0, 2.0)),
    "components": lambda labels, logits: op.components((labels > 1).unsqueeze(1)),
    "loss": lambda labels, logits: of_loss(BoundaryLoss(), logits, labels),
    "sigmoid": lambda labels, logits: of_loss(BoundaryLoss(activation="sigmoid"), logits, labels),
    "distance": lambda labels, logits: of_loss(BoundaryLoss(as_distance=True), logits, labels),
    "half": lambda labels, logits: of_loss(BoundaryLoss(), logits.half(), labels),
    "ignored": lambda labels, logits: of_loss(BoundaryLoss(ignore_index=1), logits, labels),
    "lesions": lambda labels, logits: of_loss(LogBoundaryLoss(balance_lesions=True), logits, labels),
    "ratio": lambda labels, logits: of_loss(
        RegionBoundaryLoss(CrossEntropyLoss(), weighting=GradientRatio(ramp=0)).to(logits.device),
        logits,
        labels,
    ),
    "metrics": lambda labels, logits: tuple(
        vars(contour_distances(labels, labels.flip(1), num_classes=3)).values()
    ),
}


def check(work, device):
    """The same as on the CPU, and on the device."""
    expected = work(LABELS, LOGITS)
    found = work(LABELS.to(device.name), LOGITS.to(device.name))
    many = isinstance(found, tuple)
    for ours, theirs in zip(found if many else [found], expected if many else [expected], strict=True):
        assert ours.device == device.name
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("device", ["mps:0", "xpu:0", "cuda:0"], indirect=True)
def test_a_device_without_triton_takes_the_detour(work, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1))
    if device.name.type == "xpu":
        monkeypatch.setattr(devices, "find_spec", lambda _: None)
        with pytest.warns(UserWarning, match="pip install triton") as said:
            check(WORK[work], device)
        assert sum("Triton" in str(warning.message) for warning in said) == 1
    check(WORK[work], device)
    assert device.moves["back"] > 0


OBSTACLES = {
    "older than": (devices.torch, "__version__", "2.6.1", "need torch 2.7 or later, this is 2.6.1"),
    "without Triton": (devices, "find_spec", lambda _: None, "pip install triton"),
    "of an old GPU": (torch.cuda, "get_device_capability", lambda _: (6, 1), "7.0, this GPU has 6.1"),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
@pytest.mark.filterwarnings("ignore:.*computed on the CPU")
def test_obstacle_says_what_keeps_triton_from_a_gpu(obstacle, device, kernels, monkeypatch):
    owner, name, value, why = OBSTACLES[obstacle]
    monkeypatch.setattr(owner, name, value)
    check(WORK["maps"], device)
    assert why in devices.MAPS.verdict(CUDA)
    assert kernels.launches == 0


def test_obstacle_that_nothing_mends_is_no_warning(device, monkeypatch):
    assert devices.obstacle(CUDA) is None
    assert "not for mps" in devices.obstacle(torch.device("mps:0"))
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1))
    devices.obstacle.cache_clear()
    assert devices.obstacle(CUDA) is None  # whatever AMD's numbers mean


@pytest.mark.parametrize("work", WORK)
def test_kernels_serve_after_one_trial(work, device, kernels):
    check(WORK[work], device)
    first = kernels.launches
    assert first > 0 and set(verdicts().values()) == {None}
    check(WORK[work], device)
    assert 0 < kernels.launches - first < first  # no trial any more


def raising(result):
    raise OSError("no\nsuch  register")


def lying(result):
    """A single wrong value, in what the maps, the components or the loss give."""
    first, *others = result if isinstance(result, tuple) else (result,)
    first = first.clone()
    first.view(-1)[-1] += 1
    return (first, *others) if others else first


def writing_nothing(result):
    return (
        tuple(torch.full_like(part, -9) for part in result) if isinstance(result, tuple) else result * 0 - 9
    )


@pytest.mark.parametrize("spoil", [raising, lying, writing_nothing])
@pytest.mark.parametrize("work", ["maps", "transform", "components", "loss", "lesions", "metrics"])
def test_kernels_that_fail_their_trial_never_serve(work, spoil, device, kernels):
    kernels.spoil = spoil
    with pytest.warns(UserWarning, match="report this with the output of `boundaryloss info`: ") as said:
        check(WORK[work], device)
    families = {str(warning.message).split(" fail on ")[0] for warning in said}
    assert len(families) == len(said)
    assert all("fail on cuda:0" in str(warning.message) for warning in said)
    launches = kernels.launches
    check(WORK[work], device)  # in silence: warnings are errors
    assert kernels.launches == launches


@pytest.mark.parametrize("work", ["maps", "transform", "components", "loss", "lesions"])
def test_kernels_that_fail_later_serve_no_more(work, device, kernels):
    for family in FAMILIES.values():
        assert family.verdict(CUDA) is None
    kernels.spoil = raising
    with pytest.warns(UserWarning, match="OSError: no such register"):
        check(WORK[work], device)
    launches = kernels.launches
    check(WORK[work], device)
    assert kernels.launches == launches


def test_kernels_without_a_compiler_say_so(device, kernels):
    def spoil(result):
        raise RuntimeError("Failed to find C compiler. Please specify via CC")

    kernels.spoil = spoil
    with pytest.warns(UserWarning, match="needs a C compiler"):
        check(WORK["maps"], device)


@pytest.mark.parametrize("tried", [False, True])
@pytest.mark.parametrize("kind", [torch.cuda.OutOfMemoryError, RuntimeError])
def test_kernels_without_memory_are_not_to_blame(kind, tried, device, kernels):
    def spoil(result):
        raise kind("out of memory: try a smaller batch")

    if tried:
        assert devices.MAPS.verdict(CUDA) is None
    kernels.spoil = spoil
    with pytest.raises(kind, match="smaller batch"):
        WORK["maps"](LABELS.to(CUDA), None)
    kernels.spoil = lambda result: result
    check(WORK["maps"], device)
    assert devices.MAPS.verdict(CUDA) is None


@pytest.mark.parametrize("tried", [False, True])
def test_kernels_are_not_to_blame_for_a_device_that_failed_before(tried, device, kernels, monkeypatch):
    def wait(_):
        raise RuntimeError("an assertion of your own")

    labels = LABELS.to(CUDA)
    if tried:
        assert devices.MAPS.verdict(CUDA) is None
        kernels.spoil = raising
    monkeypatch.setattr(devices, "_wait_for", wait)
    with pytest.raises(RuntimeError, match="of your own"):
        WORK["maps"](labels, None)
    assert verdicts() == ({"maps": None} if tried else {})


def test_kernels_are_tried_once_by_many_threads(device):
    begun, go_on, trials = threading.Event(), threading.Event(), []

    def trial(where):
        trials.append(where)
        begun.set()
        assert go_on.wait(60)

    family, found = devices.Kernels("these", trial, instead="others"), []

    def ask():
        with device:
            found.append(family.verdict(CUDA))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    go_on.set()
    for thread in threads:
        thread.join()
    assert found == [None] * 3 and trials == [CUDA]


def test_kernels_may_be_asked_for_within_their_trial(device):
    """By a signal's handler, say: neither a deadlock nor trials without end."""
    depth = []

    def trial(where):
        depth.append(where)
        if len(depth) < 3:
            family.verdict(where)

    family = devices.Kernels("these", trial, instead="others")
    assert family.verdict(CUDA) is None


@pytest.mark.parametrize("work", ["maps", "loss", "lesions"])
def test_capture_tries_nothing(work, device, kernels):
    expected = WORK[work](LABELS, LOGITS)
    Capture.on = True
    found = WORK[work](LABELS.to(CUDA), LOGITS.to(CUDA))
    Capture.on = False
    assert kernels.launches > 0 and device.moves["back"] == 0
    assert verdicts() == {}
    first = found[0] if isinstance(found, tuple) else found
    torch.testing.assert_close(first.cpu(), expected[0] if isinstance(found, tuple) else expected)


def test_capture_refuses_the_detour_in_a_sentence(device, kernels):
    kernels.spoil = lying
    with pytest.warns(UserWarning, match="report this"):
        check(WORK["maps"], device)
    Capture.on = True
    with pytest.raises(RuntimeError, match="no CUDA graph can capture them: ArithmeticError: 1 of"):
        WORK["maps"](LABELS.to(CUDA), None)


def test_capture_passes_on_what_the_kernels_raise(device, kernels):
    kernels.spoil, Capture.on = raising, True
    with pytest.raises(OSError, match="register"):
        WORK["maps"](LABELS.to(CUDA), None)
    assert verdicts() == {}


def test_trial_is_independent_of_settings(device, kernels, monkeypatch):
    """Another default type and device, waiting forbidden, deterministic: the state of the generator stays."""
    modes = []
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    state = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.device("meta"), torch.autocast("cpu"):
            for family in FAMILIES.values():
                assert family.verdict(CUDA) is None
    finally:
        torch.set_default_dtype(torch.float32)
        torch.use_deterministic_algorithms(False)
    assert modes == ["default", 2] * 3
    assert torch.equal(torch.get_rng_state(), state)


def test_a_label_that_is_no_class_is_named_after_the_detour(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1))
    with pytest.raises(ValueError, match=r"label 2 at batch .* lies outside 0\.\.1"):
        signed_distance_map(LABELS.to(CUDA), 2)


def test_a_compiled_loss_tries_the_kernels_when_it_runs(monkeypatch):
    """The trial is no part of the graph; without kernels plain torch goes on, in backward as well."""
    tried = []

    def trial(where):
        tried.append(where)
        raising(None)

    family = devices.Kernels("these", trial, instead="others")
    monkeypatch.setattr(devices, "obstacle", lambda _: None)
    monkeypatch.setattr(loss_op, "KERNELS", family)
    monkeypatch.setattr(BoundaryLoss, "_is_ordinary", lambda *_: True)
    compiled = torch.compile(BoundaryLoss(), fullgraph=True, backend="aot_eager", dynamic=False)
    with pytest.warns(UserWarning, match="report this"):
        found = of_loss(compiled, LOGITS, LABELS)
    assert tried == [torch.device("cpu")]
    monkeypatch.undo()
    for ours, theirs in zip(found, of_loss(BoundaryLoss(), LOGITS, LABELS), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_second_derivatives_take_the_detour(device, kernels):
    kernels.spoil = raising

    def curvature(logits, labels):
        logits = logits.clone().requires_grad_()
        (slope,) = torch.autograd.grad(BoundaryLoss()(logits, labels), logits, create_graph=True)
        return torch.autograd.grad((slope**2).sum(), logits)[0]

    with pytest.warns(UserWarning, match="report this"):
        check(lambda labels, logits: curvature(logits, labels), device)
