"""Normalizing flows (Rezende & Mohamed 2015): planar and radial maps, chains of them."""
