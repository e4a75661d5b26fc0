"""Floor 3: approximate posteriors, one file a family.

A new file here is found without being listed anywhere.
"""
