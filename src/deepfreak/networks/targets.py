"""The loss: for labels that are a class or a group, and for the crystal's volume."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from deepfreak.classes import GROUPS, groups
from deepfreak.networks.configuration import VOLUME_UNIT_MM3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """The classes that each label allows: one, or those of a group.

    A label below the number of classes is a class. That number stands for the first of `GROUPS`,
    the next for the second: of such an image only its group is known. `members` (classes + 2,
    classes) bool says which classes a label allows; None where all labels are classes.
    """

    members: Tensor | None

    @classmethod
    def of(cls, classes: Sequence[str], *, with_groups: bool, device: torch.device) -> "Targets":
        """Return what labels of `classes`, `with_groups` of their two groups too, allow."""
        if not with_groups:
            return cls(members=None)
        group_of = torch.from_numpy(groups(classes))
        each = torch.eye(len(classes), dtype=torch.bool)
        either = group_of == torch.arange(len(GROUPS))[:, None]
        return cls(members=torch.cat([each, either]).to(device))

    def loss(self, logits: Tensor, labels: Tensor, *, label_smoothing: float) -> Tensor:
        """Return the mean loss of logits (n, classes) for labels (n,).

        For a class it is the cross-entropy; for a group -log of the sum of its classes'
        probabilities, without smoothing.
        """
        if self.members is None:
            return cross_entropy(logits, labels, label_smoothing=label_smoothing)
        logits = logits.float()
        classes = logits.shape[1]
        by_class = cross_entropy(
            logits, labels.clamp(max=classes - 1), label_smoothing=label_smoothing, reduction="none"
        )
        allowed = logits.masked_fill(~self.members[labels], -torch.inf)
        by_group = logits.logsumexp(1) - allowed.logsumexp(1)
        # without a condition on the labels, for which the host would have to wait for the GPU
        return torch.where(labels < classes, by_class, by_group).mean()

    def hits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return for how many images the most probable class is one that the label allows, ()."""
        found = logits.argmax(1)
        if self.members is None:
            return (found == labels).sum()
        return self.members[labels, found].sum()


def volume_error(estimated: Tensor, volumes: Tensor) -> Tensor:
    """Return the squared error of log volumes (n,) in mm^3; images without crystal add nothing."""
    crystal = volumes > 0
    truth = (volumes / VOLUME_UNIT_MM3).where(crystal, torch.ones_like(volumes)).log()
    return ((estimated - truth).square() * crystal).mean()
