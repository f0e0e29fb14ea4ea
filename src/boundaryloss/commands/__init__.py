"""What the command does besides training."""
