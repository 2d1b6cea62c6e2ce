"""DeepFreak: simulate serial crystallography, learn from it, and tell which frames to keep.

The public names are imported when they are first used, so that `import deepfreak` is quick::

    import deepfreak as df

    experiment = df.load_recipe("diffranet")
    shot = experiment.draw(seed=0, index=0)
    image, truth = df.simulate(shot)
    screener = df.Screener(df.load_model())
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepfreak.datasets import Dataset as Dataset
    from deepfreak.datasets import generate as generate
    from deepfreak.errors import DeepFreakError as DeepFreakError
    from deepfreak.features import GLCM as GLCM
    from deepfreak.features import LBP as LBP
    from deepfreak.features import SIFT as SIFT
    from deepfreak.features import Diffraction as Diffraction
    from deepfreak.formats import read_frames as read_frames
    from deepfreak.models import SVM as SVM
    from deepfreak.models import Forest as Forest
    from deepfreak.models import load_model as load_model
    from deepfreak.models import save_model as save_model
    from deepfreak.models import train as train
    from deepfreak.models.evaluation import evaluate as evaluate
    from deepfreak.physics.beam import Beam as Beam
    from deepfreak.physics.crystal import Crystal as Crystal
    from deepfreak.physics.detector import CCD as CCD
    from deepfreak.physics.detector import Detector as Detector
    from deepfreak.physics.experiment import Classes as Classes
    from deepfreak.physics.experiment import Experiment as Experiment
    from deepfreak.physics.experiment import ShotClass as ShotClass
    from deepfreak.physics.exposure import scatter as scatter
    from deepfreak.physics.exposure import simulate as simulate
    from deepfreak.physics.noise import detect as detect
    from deepfreak.physics.recipe import load_recipe as load_recipe
    from deepfreak.physics.scattering.amorphous import Air as Air
    from deepfreak.physics.scattering.amorphous import Water as Water
    from deepfreak.physics.shot import Shot as Shot
    from deepfreak.physics.structure_factors import Model as Model
    from deepfreak.physics.structure_factors import Reflections as Reflections
    from deepfreak.physics.structure_factors import Wilson as Wilson
    from deepfreak.preparation import prepare as prepare
    from deepfreak.screening.screener import Screener as Screener

_HOMES = {
    "physics.beam": ("Beam",),
    "physics.crystal": ("Crystal",),
    "datasets": ("Dataset", "generate"),
    "physics.detector": ("CCD", "Detector"),
    "errors": ("DeepFreakError",),
    "models.evaluation": ("evaluate",),
    "physics.experiment": ("Classes", "Experiment", "ShotClass"),
    "physics.exposure": ("scatter", "simulate"),
    "features": ("GLCM", "LBP", "SIFT", "Diffraction"),
    "formats": ("read_frames",),
    "models": ("SVM", "Forest", "load_model", "save_model", "train"),
    "physics.noise": ("detect",),
    "preparation": ("prepare",),
    "physics.recipe": ("load_recipe",),
    "physics.scattering.amorphous": ("Air", "Water"),
    "screening.screener": ("Screener",),
    "physics.shot": ("Shot",),
    "physics.structure_factors": ("Model", "Reflections", "Wilson"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 -- made from the table above, so they cannot differ
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- the names are of all kinds
    if name not in _HOME_OF:
        raise AttributeError(f"module 'deepfreak' has no attribute {name!r}")
    return getattr(import_module(f"deepfreak.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
