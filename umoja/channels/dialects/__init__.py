"""The dialects: one file for each family of client libraries."""
