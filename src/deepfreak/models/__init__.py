"""Models: images or evidence in, probabilities out; and their files."""

from deepfreak.models.classifier import Classifier
from deepfreak.models.evidence_model import EvidenceModel, Opinion
from deepfreak.models.files import load_model, save_model
from deepfreak.models.fitted import CLASS_WEIGHTS, Fitted, Learner
from deepfreak.models.forest import FittedForest, Forest
from deepfreak.models.perceptron_learner import FittedPerceptrons, PerceptronLearner
from deepfreak.models.perceptrons import Perceptrons
from deepfreak.models.svm import SVM, FittedSVM
from deepfreak.models.vector_model import VectorModel, train

__all__ = [
    "CLASS_WEIGHTS",
    "SVM",
    "Classifier",
    "EvidenceModel",
    "Fitted",
    "FittedForest",
    "FittedPerceptrons",
    "FittedSVM",
    "Forest",
    "Learner",
    "Opinion",
    "PerceptronLearner",
    "Perceptrons",
    "VectorModel",
    "load_model",
    "save_model",
    "train",
]
