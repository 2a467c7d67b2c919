"""The detectors: one file each; pure."""
