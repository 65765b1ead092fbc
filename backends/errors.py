"""What can go wrong with an engine.

    BackendError
    ├── DeploymentInvalid      a deployment's settings cannot work; names the settings key
    │   └── NotNow             they cannot work now: somebody else has what they need
    ├── StartFailed            an engine ended, or never answered, while it was started
    ├── UnknownModel           no deployment has this name or alias
    ├── NoReplica              the model is known, but no replica of it is ready now
    ├── Overloaded             every replica of the model has its share of requests, and the queue no place
    └── EngineError            a replica was asked and did not keep its side
        ├── EngineUnreachable  no connection could be made
        ├── EngineTimeout      it stayed silent for longer than allowed
        └── EngineBroken       what it sent is no answer
            └── EngineLost     it closed the connection before its answer was complete

The gateway turns each of these into a status and an error body in one table (`gateway/problems.py`).
"""


class BackendError(Exception):
    """Root of the tree."""


class DeploymentInvalid(BackendError):
    """A deployment's settings cannot work. *key* names the setting, such as ``deployments[0].port``."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key
        self.message = message


class NotNow(DeploymentInvalid):
    """A deployment's settings cannot work as long as somebody else has its port, or the memory of its GPUs."""


class StartFailed(BackendError):
    """An engine ended, or never answered its health probe, while it was started."""

    def __init__(self, message: str, log_tail: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.log_tail = log_tail


class UnknownModel(BackendError):
    """No deployment has *model* as its name or alias."""

    def __init__(self, model: str) -> None:
        super().__init__(f"The model `{model}` does not exist.")
        self.model = model


class NoReplica(BackendError):
    """The model is known, but no replica of it is ready; *state* says what its replicas are doing."""

    def __init__(self, model: str, state: str) -> None:
        super().__init__(f"The model `{model}` has no replica ready (it is {state}).")
        self.model = model
        self.state = state


class Overloaded(BackendError):
    """Every replica of *model* has as many requests as it may have at once, and the queue is full, or was too slow.

    *retry_after* says in how many seconds to come again.
    """

    def __init__(self, model: str, retry_after: int = 1) -> None:
        super().__init__(f"The model `{model}` is busy. Please try again in {retry_after} s.")
        self.model = model
        self.retry_after = retry_after


class EngineError(BackendError):
    """A replica was asked and did not keep its side."""


class EngineUnreachable(EngineError):
    """No connection to the replica could be made."""


class EngineTimeout(EngineError):
    """The replica stayed silent for longer than allowed."""


class EngineBroken(EngineError):
    """The replica did not keep to HTTP, or what it sent is no answer."""


class EngineLost(EngineBroken):
    """The replica closed the connection before its answer was complete."""
