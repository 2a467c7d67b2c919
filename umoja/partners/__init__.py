"""The partners: every way out, behind the ports of payments."""
