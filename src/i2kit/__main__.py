"""Where the command `i2kit` begins, also as `python -m i2kit`. Only loads the command line."""

import signal


def main() -> None:
    """Run the command line; a Ctrl-C while it loads, when nothing was begun, ends without a traceback."""
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heeded:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from i2kit import cli

    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    main()
