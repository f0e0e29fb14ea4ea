"""nnU-Net's trainer with the boundary loss; everything else is nnU-Net's."""

from collections.abc import Callable
from functools import partial

from torch import nn

from boundaryloss import BoundaryLoss, Constant, GradientRatio, Increase, LogBoundaryLoss, Rebalance
from boundaryloss.extras import require
from boundaryloss.integrations.nnunet.loss import with_boundary

require("nnunet", __name__, "nnunetv2")

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

LESIONS_ALIKE = partial(LogBoundaryLoss, balance_lesions=True)


class nnUNetTrainerBoundary(nnUNetTrainer):  # noqa: N801, nnU-Net's own spelling
    r"""nnU-Net's loss plus the boundary loss: :math:`w_R \, L_R + w_B \, L_B`.

    :math:`L_R` is what nnU-Net builds for the dataset, with its deep supervision, regions and ignore label;
    :math:`L_B` is the boundary loss at full resolution, in the unit of the plan's spacing (mm).

    Subclass it with another `weighting`, see `RegionBoundaryLoss`, or `form`, to make a variant. This one has
    the paper's form, whose :math:`w_B` grows from 0 to 1 over nnU-Net's 1000 epochs.
    """

    weighting: Callable[[int], tuple[float, float]] | GradientRatio = Increase(step=0.001)
    form: Callable[..., BoundaryLoss | LogBoundaryLoss] = BoundaryLoss

    def _build_loss(self) -> nn.Module:
        return with_boundary(
            super()._build_loss(),
            self.weighting,
            spacing=self.configuration_manager.spacing,
            has_regions=self.label_manager.has_regions,
            ignore_label=self.label_manager.ignore_label,
            form=self.form,
        ).to(self.device)

    def on_train_epoch_start(self) -> None:
        """Weigh the terms by the epoch, which a continued training takes from its checkpoint."""
        super().on_train_epoch_start()
        self.loss.set_epoch(self.current_epoch)
        region, boundary = self.loss.weights.tolist()
        self.print_to_log_file(f"region weight {region:.4g}, boundary weight {boundary:.4g}")


class nnUNetTrainerBoundaryConstant(nnUNetTrainerBoundary):  # noqa: N801
    """The boundary loss with a small weight from the first epoch on."""

    weighting = Constant(0.01)


class nnUNetTrainerBoundaryRebalance(nnUNetTrainerBoundary):  # noqa: N801
    """The paper's Eq. 6, begun at 0: weight moves from nnU-Net's loss to the boundary loss, up to 0.99."""

    weighting = Rebalance(step=0.001)


class nnUNetTrainerBoundaryRatio(nnUNetTrainerBoundary):  # noqa: N801
    """The log form, every lesion alike, with the weight that holds its gradient at half of nnU-Net's."""

    weighting = GradientRatio(ratio=0.5, ramp=50)
    form = LESIONS_ALIKE


class nnUNetTrainerBoundaryWarmStart(nnUNetTrainerBoundary):  # noqa: N801
    """nnU-Net's loss alone for two thirds of the epochs, then with the log form as in the ratio's trainer."""

    form = LESIONS_ALIKE

    @property
    def weighting(self) -> GradientRatio:
        """Return the ratio, reached after another tenth of the epochs."""
        return GradientRatio(ratio=0.5, start=0.67 * self.num_epochs, ramp=self.num_epochs / 10)
