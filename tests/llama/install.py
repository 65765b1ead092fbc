"""Makes llama-server and llama-cpp-python's server: `python tests/llama/install.py DIRECTORY`.

Both come out of llama-cpp-python's source package, which carries llama.cpp, by one build: the Python package takes the
library that was built for the program. It runs at nice 19 and needs a C++ compiler; 10 to 20 minutes on two cores.
Afterwards ``bin/llama-server``, ``bin/llama-cli`` and ``bin/python`` in DIRECTORY run.
"""

import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path

SOURCE = "llama-cpp-python==0.3.36"
TOOLS = ("cmake==4.4.5", "ninja==1.13.2", "scikit-build-core==1.1.2")
SERVER = ("uvicorn", "fastapi", "pydantic-settings", "sse-starlette", "starlette-context<0.4", "PyYAML")
"""What the extra `server` names; the package itself is installed without looking at what it requires."""
LIBRARY = ("numpy", "typing-extensions", "diskcache", "jinja2")
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    "-DLLAMA_ALL_WARNINGS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",  # it would be fetched from the internet
)
TARGETS = ("llama-server", "llama-cli", "mtmd")


def run(*argv: str | Path, environment: Mapping[str, str] | None = None) -> None:
    """Run *argv* at the lowest priority."""
    subprocess.run(["nice", "-n", "19", *argv], check=True, env={**os.environ, **(environment or {})})


def unpacked(pip: Path, folder: Path) -> Path:
    """Return the source package's folder."""
    run(pip, "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", folder, SOURCE)
    run("tar", "-xzf", next(folder.glob("*.tar.gz")), "-C", folder)
    return next(path for path in folder.iterdir() if path.is_dir())


def build(source: Path, directory: Path) -> Path:
    """Build the programs and the library; return the folder that they are in."""
    made, ninja = directory / "build", f"-DCMAKE_MAKE_PROGRAM={directory / 'bin' / 'ninja'}"
    cmake = directory / "bin" / "cmake"
    run(cmake, "-S", source / "vendor" / "llama.cpp", "-B", made, "-G", "Ninja", ninja, *OPTIONS)
    run(cmake, "--build", made, "--target", *TARGETS)
    return made / "bin"


def main(directory: Path) -> None:
    """Make the environment."""
    venv.create(directory, with_pip=True)
    pip = directory / "bin" / "pip"
    run(pip, "install", "--quiet", *TOOLS, *SERVER, *LIBRARY)
    with tempfile.TemporaryDirectory() as folder:
        source = unpacked(pip, Path(folder))
        programs = build(source, directory)
        off = {"CMAKE_ARGS": "-DLLAMA_BUILD=OFF -DLLAVA_BUILD=OFF", "PATH": f"{directory / 'bin'}:{os.environ['PATH']}"}
        run(pip, "install", "--quiet", "--no-deps", "--no-build-isolation", source, environment=off)
    for name in ("llama-server", "llama-cli"):
        (directory / "bin" / name).unlink(missing_ok=True)
        (directory / "bin" / name).symlink_to(programs / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
