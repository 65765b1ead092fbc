"""The HTTP of the admin API: uvicorn's, but for what it says of bytes that are no request."""

import sys

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.problems import not_http


class Front(HttpToolsProtocol):
    """One connection. No request means no application: uvicorn answers by itself, here in the one error shape."""

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed, and close; *msg* is uvicorn's word for it, the parser has a better one."""
        problem = not_http(sys.exception() or msg)
        body = problem.body()
        headers = [*problem.headers(), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", body]))
        self.transport.close()
