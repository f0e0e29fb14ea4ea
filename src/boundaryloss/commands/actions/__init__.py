"""What the command does besides training. Each module asks for what it needs: `info` has torch alone."""
