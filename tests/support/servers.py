"""HTTP servers for tests."""

from http.server import ThreadingHTTPServer


class ManyCallers(ThreadingHTTPServer):
    """A server that is called by many at once. With the usual queue of five, a busy machine drops what is more, and
    who calls tries again only after a second.
    """

    request_queue_size = 128
    daemon_threads = True
