"""A model and a posterior fitted to data: made, drawn from, scored."""
