"""With Lightning: a callback sets the weights by epoch and logs both terms."""

import lightning
import torch
from lesions import dice, lesions, network
from monai.losses import DiceCELoss
from torch.utils.data import DataLoader, TensorDataset

from boundaryloss import RegionBoundaryLoss
from boundaryloss.integrations.lightning import BoundarySchedule


class Segmentation(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = network()
        region = DiceCELoss(to_onehot_y=True, softmax=True)
        self.loss = RegionBoundaryLoss(region)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return self.loss(self.network(images), labels)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


model = Segmentation()
trainer = lightning.Trainer(
    max_epochs=16, accelerator="cpu", callbacks=[BoundarySchedule()], logger=False, enable_checkpointing=False
)
trainer.fit(model, DataLoader(TensorDataset(*lesions()), batch_size=8, shuffle=True))
print({name: round(float(value), 3) for name, value in trainer.callback_metrics.items()})

model.eval()
images, labels = lesions(seed=1)
with torch.no_grad():
    prediction = model.network(images).argmax(dim=1, keepdim=True) == 1
print(f"Dice {dice(prediction, labels):.2f}")
