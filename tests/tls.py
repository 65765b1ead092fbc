"""One context for all clients of tests: to read the certificates takes 30 ms of processor, and no test needs any."""

import ssl

CONTEXT = ssl.create_default_context()
