"""The simulator: a seeded population, its traffic and its faults; a guest of the app."""
