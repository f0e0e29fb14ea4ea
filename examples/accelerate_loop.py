"""With Hugging Face Accelerate: `accelerate launch` runs it on whatever devices there are."""

import torch
from accelerate import Accelerator
from lesions import dice, lesions, network
from monai.losses import DiceCELoss
from torch.utils.data import DataLoader, TensorDataset

from boundaryloss import RegionBoundaryLoss

accelerator = Accelerator()
model = network()
criterion = RegionBoundaryLoss(DiceCELoss(to_onehot_y=True, softmax=True))
criterion.to(accelerator.device)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
loader = DataLoader(TensorDataset(*lesions()), batch_size=8, shuffle=True)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
accelerator.register_for_checkpointing(criterion)  # `save_state` keeps its epoch

for epoch in range(16):
    criterion.set_epoch(epoch)
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)  # distance maps on the device, in at least float32
        accelerator.backward(loss)
        optimizer.step()
    accelerator.print(f"epoch {epoch}: loss {loss.item():.3f}, boundary weight {criterion.weights[1]:.2f}")

model.eval()
images, labels = (tensor.to(accelerator.device) for tensor in lesions(seed=1))
with torch.no_grad():
    prediction = model(images).argmax(dim=1, keepdim=True) == 1
accelerator.print(f"Dice {dice(prediction, labels):.2f}")
