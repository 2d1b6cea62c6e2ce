"""Models: images or evidence in, probabilities out; and their files."""

from deepfreak.models.classifier import CLASS_WEIGHTS, Classifier, Fitted, Learner
from deepfreak.models.evidence_model import EvidenceModel, Opinion
from deepfreak.models.files import load_model, save_model
from deepfreak.models.forest import FittedForest, Forest
from deepfreak.models.perceptrons import FittedPerceptrons, PerceptronLearner, Perceptrons
from deepfreak.models.svm import SVM, FittedSVM
from deepfreak.models.vector_model import VectorModel, train

__all__ = [
    "CLASS_WEIGHTS", "SVM", "Classifier", "EvidenceModel", "Fitted", "FittedForest",
    "FittedPerceptrons", "FittedSVM", "Forest", "Learner", "Opinion", "PerceptronLearner",
    "Perceptrons", "VectorModel", "load_model", "save_model", "train",
]  # fmt: skip
