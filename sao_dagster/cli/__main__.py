"""`python -m sao_dagster.cli`: the same as `sao`."""

from sao_dagster.cli import main

if __name__ == "__main__":
    main()
