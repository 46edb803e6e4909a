"""The entry point of the ``dcproxy`` command."""


def main() -> None:
    """Run the command, with the blocking calls of the standard library replaced by gevent's.

    That comes before anything else is imported: gevent cannot replace what modules have kept.
    """
    from gevent import monkey

    monkey.patch_all()

    from dcproxy.server import cli

    cli.main()
