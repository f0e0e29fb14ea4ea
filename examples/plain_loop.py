"""The boundary loss in a training loop of your own."""

import torch
from lesions import dice, lesions, network
from monai.losses import DiceCELoss

from boundaryloss import RegionBoundaryLoss

images, labels = lesions()
model = network()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
criterion = RegionBoundaryLoss(DiceCELoss(to_onehot_y=True, softmax=True))

for epoch in range(16):
    criterion.set_epoch(epoch)  # the weight of the boundary term
    for batch in torch.randperm(len(images)).split(8):
        optimizer.zero_grad()
        loss = criterion(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: loss {loss.item():.3f}, boundary weight {criterion.weights[1]:.2f}")

model.eval()
test_images, test_labels = lesions(seed=1)
with torch.no_grad():
    prediction = model(test_images).argmax(dim=1, keepdim=True) == 1
print(f"Dice {dice(prediction, test_labels):.2f}")
