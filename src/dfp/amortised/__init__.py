"""The posterior that is trained once, for all cells: what a cell is, the network, its training, its weights."""
