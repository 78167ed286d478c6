"""Print the lowest versions that pyproject.toml allows of what runs and tests the package, for pip install -r."""

import re
import tomllib
from itertools import chain
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
extras = [project["optional-dependencies"][extra] for extra in ("plot", "progress", "test")]
for requirement in chain(project["dependencies"], *extras):
    name, lowest = re.match(r"([\w-]+)(?:[~>]=([\d.]+))?", requirement).groups()
    if name != project["name"]:  # an extra that is made of others
        print(f"{name}=={lowest}")
