"""Floor 7: mirrors of results for people to look at; never read back."""
