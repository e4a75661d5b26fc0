"""Readers of recordings, one file a format; a new file here is found without being listed anywhere."""
