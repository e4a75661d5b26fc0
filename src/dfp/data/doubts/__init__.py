"""What is doubtful of a recording: found before a run, and after it."""
