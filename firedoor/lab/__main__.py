"""Run the emulated AWS in the foreground: `python -m firedoor.lab --port 5000`."""

from argparse import ArgumentParser

from firedoor.lab.emulator import serve


def main() -> None:
    """Serve until interrupted, on the loopback interface only."""
    parser = ArgumentParser(prog="firedoor.lab", description=__doc__)
    parser.add_argument("--port", type=int, default=5000, help="0 for any free one")
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="end with the parent process"
    )
    arguments = parser.parse_args()
    serve(arguments.port, until_stdin_closes=arguments.until_stdin_closes)


if __name__ == "__main__":
    main()
