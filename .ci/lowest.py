"""Print the lowest version that pyproject.toml allows of every dependency, extras included, for pip install -r."""

import re
import tomllib
from itertools import chain
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
for requirement in chain(project["dependencies"], *project["optional-dependencies"].values()):
    name, lowest = re.match(r"([\w-]+)(?:[~>]=([\d.]+))?", requirement).groups()
    if name != project["name"]:  # an extra that is made of others
        print(f"{name}=={lowest}")
