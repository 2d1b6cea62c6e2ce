"""Classifiers: images in, probabilities out; and the files they are kept in."""

from deepfreak.models.classifier import Classifier
from deepfreak.models.files import load_model, save_model
from deepfreak.models.forest import ForestModel, train_forest

__all__ = ["Classifier", "ForestModel", "load_model", "save_model", "train_forest"]
