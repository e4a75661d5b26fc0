"""Floor 3: generative models, one file an observation model; a new file here is found without being listed
anywhere.
"""
