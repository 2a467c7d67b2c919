"""`python -m umoja` is the command line."""

from umoja.cli import main

if __name__ == "__main__":
    main()
