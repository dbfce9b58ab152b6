"""Only what pyproject.toml cannot say: the C++ extension, and the README for a package index.

`optional=True`: where the extension does not compile, the install still succeeds, and plain Python serves
(`dupo.text`).
"""

import re
import tomllib
from glob import glob
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup


def readme() -> str:
    """README.md, with absolute links where pyproject.toml names the repository.

    A package index shows the README without the files that it links to.
    """
    text = Path("README.md").read_text(encoding="utf-8")
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository")
    if address is None:
        return text
    text = text.replace("URL_OF_THIS_REPOSITORY", address)
    text = re.sub(r"(!\[[^\]]*\]\()(?!https?://|#)", rf"\1{address}/raw/main/", text)
    return re.sub(r"((?<!!)\[[^\]]*\]\()(?!https?://|#)", rf"\1{address}/blob/main/", text)


setup(
    long_description=readme(),
    long_description_content_type="text/markdown",
    ext_modules=[
        Pybind11Extension(
            "dupo._C",
            sorted(glob("csrc/*.cpp")),
            depends=sorted(glob("csrc/*.hpp")),
            cxx_std=17,
            optional=True,
        )
    ],
    cmdclass={"build_ext": build_ext},
)
