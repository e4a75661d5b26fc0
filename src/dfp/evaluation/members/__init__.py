"""The best member of a family of posteriors for each trace by itself."""
