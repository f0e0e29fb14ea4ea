"""For tests that need a CUDA device, and for kernels that run in Triton's interpreter without one."""

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
_MARKS = [pytest.mark.gpu, pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")]
on_gpu = pytest.mark.parametrize("device", [pytest.param("cuda", marks=_MARKS)])


def captured(loss, logits, labels):
    """A CUDA graph of `loss` forward and backward, and where it leaves the value; `logits` get a gradient."""
    logits.requires_grad_()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            logits.grad = None
            loss(logits, labels).backward()
    torch.cuda.current_stream().wait_stream(stream)
    logits.grad = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = loss(logits, labels)
        value.backward()
    return graph, value
