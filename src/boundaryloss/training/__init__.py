"""All of it at work: data, network, loop and metrics (needs ``pip install "boundaryloss[train]"``)."""
