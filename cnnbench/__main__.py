"""Run the command line with `python -m cnnbench`."""

from cnnbench.cli.main import main

if __name__ == "__main__":
    main()
