"""The channels: every way in, from bytes to orders and back."""
