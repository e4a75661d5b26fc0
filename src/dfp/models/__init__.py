"""Floor 3: generative models, one file an observation model.

A new file here is found without being listed anywhere.
"""
