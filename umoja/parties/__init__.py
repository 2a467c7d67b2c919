"""Parties: customers, agents, organisations, their credentials and identities."""
