"""The products: one file each; pure."""
