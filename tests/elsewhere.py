"""A device that is not there: its tensors say they are on it, live on the CPU, and mix with no others."""

from contextlib import contextmanager
from types import SimpleNamespace

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

import boundaryloss.distance
from boundaryloss.distance import devices, op, reference
from boundaryloss.losses import lesions
from boundaryloss.losses import op as loss_op

FAMILIES = {"maps": devices.MAPS, "components": devices.COMPONENTS, "loss": loss_op.KERNELS}
KERNELS = {  # what runs when an op is called, on whatever device
    op.signed_distance: op._signed_distance,
    op.distance_transform: op._distance_transform,
    op.components: op._components,
    lesions.lesion_factors: lesions._lesion_factors,
    loss_op.sum_and_gradient: loss_op._kernel,
    loss_op._scaled: loss_op._scale,
}


class Elsewhere(torch.Tensor):
    """To C++ a tensor without values, to Python one on the device."""

    @staticmethod
    def __new__(cls, here, device):
        tensor = torch.Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), dtype=here.dtype, device="meta"
        )
        tensor.here, tensor.there = here, torch.device(device)
        return tensor

    device = property(lambda self: self.there)

    def tolist(self):
        return self.here.tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} after the device is gone")


class Device(TorchDispatchMode):
    """Within it, tensors made for the device are there; what goes there and back is counted."""

    def __init__(self, name):
        super().__init__()
        self.name, self.moves = torch.device(name), {"there": 0, "back": 0}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in KERNELS:
            with self:
                return KERNELS[func](*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        there = [tensor for tensor in tensors if isinstance(tensor, Elsewhere)]
        mixed = any(tensor.ndim and not isinstance(tensor, Elsewhere) for tensor in tensors)
        moves = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        if there and mixed and not moves:
            raise RuntimeError(f"{func}: some tensors are on {self.name}, some on the CPU")
        args, kwargs = tree_map(lambda x: x.here if isinstance(x, Elsewhere) else x, (args, kwargs))
        target = kwargs.get("device")
        if target is not None:
            kwargs = kwargs | {"device": torch.device("cpu")}
            if moves:
                self.moves["back" if there else "there"] += 1
        goes_there = target != torch.device("cpu") if target is not None else bool(there)
        known = {id(tensor.here): tensor for tensor in there}

        def wrap(x):
            if not isinstance(x, torch.Tensor):
                return x
            return known[id(x)] if id(x) in known else Elsewhere(x, self.name)

        result = func(*args, **kwargs)
        return tree_map(wrap, result) if goes_there else result


class Capture:
    """Whether a CUDA graph is being captured."""

    on = False


@contextmanager
def untried():
    """Let no family of kernels have a verdict, nor any device an obstacle, from before."""
    before = {name: dict(family._verdicts) for name, family in FAMILIES.items()}
    for family in FAMILIES.values():
        family._verdicts.clear()
    devices.obstacle.cache_clear()
    try:
        yield
    finally:
        for name, family in FAMILIES.items():
            family._verdicts.clear()
            family._verdicts.update(before[name])
        devices.obstacle.cache_clear()


@contextmanager
def device_of(name, monkeypatch):
    """Make `name` a device, for all that the code can see; a GPU is one that Triton may serve."""

    def quiet(*_):
        pass

    monkeypatch.setattr(torch.cuda, "_lazy_init", quiet)
    monkeypatch.setattr(torch.xpu, "_lazy_init", quiet)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", quiet)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: Capture.on)
    monkeypatch.setattr(Capture, "on", False)
    monkeypatch.setattr(devices, "find_spec", lambda _: True)
    with untried(), Device(name) as device:
        yield device


def sound_kernels(monkeypatch):
    """Put sound kernels in the place of Triton's. They count launches; `spoil` may change what they give."""
    stand_ins = SimpleNamespace(launches=0, spoil=lambda result: result)

    def launched(compute):
        def launch(*args):
            stand_ins.launches += 1
            device = args[0].device
            args = tree_map(lambda x: x.here if isinstance(x, Elsewhere) else x, args)
            with _disable_current_modes():
                result = stand_ins.spoil(compute(*args))
                return tree_map(lambda x: Elsewhere(x, device), result)

        return launch

    def signed_distance(maps, classes, *settings):
        ignored = settings[-1]
        fits = (maps >= 0) & (maps < classes) | (maps == (-1 if ignored is None else ignored))
        return reference.signed_distance(maps, classes, *settings), fits.all().int()

    def boundary_loss(logits, maps, gradient, *settings):
        phi = reference.signed_distance(maps, *settings[:4])
        total, slope = loss_op.plain(logits, phi, *settings[4:])
        gradient.copy_(slope)
        return total, torch.ones((), dtype=torch.int32)

    def scale(gradient, factor, result):
        return result.copy_(gradient.float() * factor)

    of_maps = {"signed_distance": signed_distance, "distance_transform": reference.distance_transform}
    of_loss = {"boundary_loss": boundary_loss, "scale": scale}
    for room, name, functions in (
        (boundaryloss.distance, "cuda", of_maps),
        (boundaryloss.distance, "cuda_components", {"components": reference.components}),
        (boundaryloss.losses, "cuda", of_loss),
    ):
        module = SimpleNamespace(**{name: launched(function) for name, function in functions.items()})
        monkeypatch.setattr(room, name, module, raising=False)
    return stand_ins
