"""With MONAI: dictionary transforms, patches, and the map of the whole image cut along with them."""

import torch
from lesions import dice, lesions, network
from monai.data import CacheDataset, DataLoader
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.transforms import Compose, RandCropByPosNegLabeld, RandFlipd

from boundaryloss import boundary_loss
from boundaryloss.integrations.monai import BoundaryLoss, SignedDistanceMapd

ALL = ["image", "label", "distance_label"]
prepare = Compose(
    [
        SignedDistanceMapd("label", num_classes=2, new_key_prefix="distance_"),
        RandCropByPosNegLabeld(ALL, "label", spatial_size=(16, 16), num_samples=2),
        RandFlipd(ALL, prob=0.5),
    ]
).set_random_state(0)
items = [{"image": image, "label": label} for image, label in zip(*lesions(), strict=True)]
loader = DataLoader(CacheDataset(items, prepare, progress=False), batch_size=4, shuffle=True)

model = network()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
region = DiceCELoss(to_onehot_y=True, softmax=True)
patchwise = BoundaryLoss(
    include_background=False, to_onehot_y=True, softmax=True
)  # needs no map from outside

for epoch in range(16):
    for batch in loader:
        logits, labels = model(batch["image"]), batch["label"]
        boundary = boundary_loss(logits.softmax(dim=1)[:, 1:], batch["distance_label"])
        loss = region(logits, labels) + 0.01 * epoch * boundary
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(
        f"epoch {epoch}: boundary {boundary.item():.3f}, of the patch alone {patchwise(logits, labels):.3f}"
    )

model.eval()
images, labels = lesions(seed=1)
with torch.no_grad():
    prediction = sliding_window_inference(images, (16, 16), 4, model).argmax(dim=1, keepdim=True) == 1
print(f"Dice {dice(prediction, labels):.2f}")
