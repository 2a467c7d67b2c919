"""Payments: from an order to legs, fees, taxes, limits, a state and a receipt."""
