"""`python -m cds_service` is `magnesium-cds`."""

from cds_service.loading import interruptible, uncollected


def main() -> None:
    """The program. Each command says how it ends."""
    with interruptible(), uncollected():
        from cds_service.cli import main as command_line
    command_line()


if __name__ == "__main__":
    main()
