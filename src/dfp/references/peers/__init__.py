"""Other people's methods, through their own packages."""
