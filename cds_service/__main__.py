"""`python -m cds_service` is `magnesium-cds`."""

import signal


def main() -> None:
    """The program. While it loads, Ctrl-C ends it without a word; afterwards each command says how it ends."""
    interrupted = signal.getsignal(signal.SIGINT)
    if interrupted is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cds_service.cli import main as command_line

    signal.signal(signal.SIGINT, interrupted)
    command_line()


if __name__ == "__main__":
    main()
