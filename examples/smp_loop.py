"""With segmentation_models.pytorch; its three modes need no adapter.

mode="binary"      logits (B, 1, H, W), masks (B, 1, H, W):   activation="sigmoid"
mode="multiclass"  logits (B, C, H, W), labels (B, H, W):     activation="softmax"
mode="multilabel"  logits (B, C, H, W), masks (B, C, H, W):   activation="sigmoid"
"""

import segmentation_models_pytorch as smp
import torch
from lesions import dice, lesions

from boundaryloss import LogBoundaryLoss, RegionBoundaryLoss

images, masks = lesions()
torch.manual_seed(0)
model = smp.Unet("resnet18", encoder_weights=None, in_channels=1, classes=1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
boundary = LogBoundaryLoss(activation="sigmoid", balance_lesions=True)
criterion = RegionBoundaryLoss(smp.losses.DiceLoss(mode="binary"), boundary)

for epoch in range(16):
    criterion.set_epoch(epoch)
    for batch in torch.randperm(len(images)).split(8):
        optimizer.zero_grad()
        loss = criterion(model(images[batch]), masks[batch])
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: loss {loss.item():.3f}, boundary weight {criterion.weights[1]:.2f}")

model.eval()
test_images, test_masks = lesions(seed=1)
with torch.no_grad():
    prediction = model(test_images) > 0
print(f"Dice {dice(prediction, test_masks):.2f}")
