"""What `GradientRatio` costs: the loss alone, forward and backward, beside a fixed weight.

    python benchmarks/bench_ratio.py

Milliseconds of the processor, the mean of many steps taken in turns, since one step in ten measures; one
thread. `bench_training.py` gives the seconds of a whole step with the same logits.
"""

import statistics
import time

import torch

from boundaryloss import BoundaryLoss, Constant, GradientRatio, LogBoundaryLoss, RegionBoundaryLoss

ROUNDS = 100
WEIGHTINGS = {"fixed": Constant(0.01), "ratio": GradientRatio(ramp=0)}
FORMS = {"linear": BoundaryLoss, "log": LogBoundaryLoss}


def milliseconds(loss: RegionBoundaryLoss, logits: torch.Tensor, labels: torch.Tensor) -> float:
    logits = logits.clone().requires_grad_()
    start = time.process_time()
    loss(logits, labels).backward()
    return 1e3 * (time.process_time() - start)


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 64, 64, 32, generator=generator)
    labels = (torch.rand(2, 64, 64, 32, generator=generator) > 0.99).long()
    losses = {
        (form, weight): RegionBoundaryLoss(torch.nn.CrossEntropyLoss(), FORMS[form](), weighting)
        for form in FORMS
        for weight, weighting in WEIGHTINGS.items()
    }
    times: dict[tuple[str, str], list[float]] = {name: [] for name in losses}
    for _ in range(ROUNDS):
        for name, loss in losses.items():
            times[name].append(milliseconds(loss, logits, labels))
    for form in FORMS:
        fixed, ratio = (statistics.fmean(times[form, weight]) for weight in WEIGHTINGS)
        print(f"{form:8}fixed {fixed:6.2f} ms   ratio {ratio:6.2f} ms   {ratio - fixed:+.2f} ms")


if __name__ == "__main__":
    main()
