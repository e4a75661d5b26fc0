"""Floor 4: training objectives, one file each.

An objective takes a model and a posterior for given traces, and gives a loss and its terms.
"""
