"""The entry point of the ``dcproxy`` command."""

import os


def main() -> None:
    """Run the command, with the blocking calls of the standard library replaced by gevent's.

    That comes before anything else is imported: gevent cannot replace what modules have kept.
    """
    # Lookups in gevent's ten threads, which passwords use too, would wait for a silent name server.
    os.environ.setdefault("GEVENT_RESOLVER", "ares")
    from gevent import monkey

    monkey.patch_all()

    from dcproxy.server import cli

    cli.main()
