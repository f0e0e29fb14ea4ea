"""Results of nnU-Net -> a directory as `compare` leaves it, for the same report.

Nothing is trained here. Every fold of a trainer becomes a run: what nnU-Net predicted for the cases that
the fold was not trained on, judged as any other prediction. nnU-Net has no seeds; its folds are what is
repeated.
"""
