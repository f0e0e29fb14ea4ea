"""Trainers for nnU-Net, which finds them in the folder that `boundaryloss nnunet-path` prints."""
