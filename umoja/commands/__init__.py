"""The commands of the command line, one file for each kind; `cli.py` joins them."""
