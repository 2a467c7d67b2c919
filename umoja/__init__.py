"""Umoja: one mobile-money platform for many markets, and the centre that runs them all."""
