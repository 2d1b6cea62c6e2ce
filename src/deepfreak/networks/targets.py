"""What a label asks of a network: one class, or any class of a group."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from deepfreak.classes import (
    GROUPS,
    groups,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """Classes, and perhaps the two groups that they fall into.

    A label below the number of classes is a class. That number stands for the first of
    `GROUPS`, the next for the second: of such an image only its group is known.

    Attributes
    ----------
    members
        (classes + 2, classes) bool: which classes a label allows; None where all labels are
        classes.
    """

    members: Tensor | None

    @classmethod
    def of(cls, classes: Sequence[str], *, with_groups: bool, device: torch.device) -> "Targets":
        """Return what labels of `classes` may ask for.

        Raises
        ------
        DatasetError
            Groups are asked for, and the classes do not fall into two.
        """
        if not with_groups:
            return cls(members=None)
        group_of = torch.from_numpy(groups(classes))
        each = torch.eye(len(classes), dtype=torch.bool)
        either = group_of == torch.arange(len(GROUPS))[:, None]
        return cls(members=torch.cat([each, either]).to(device))

    def loss(self, logits: Tensor, labels: Tensor, *, label_smoothing: float) -> Tensor:
        """Return the mean loss of logits (n, classes) for labels (n,).

        Of an image whose class is known it is the cross-entropy; of one whose group is known, -log
        of the sum of its classes' probabilities, without smoothing.
        """
        if self.members is None:
            return cross_entropy(logits, labels, label_smoothing=label_smoothing)
        logits = logits.float()
        classes = logits.shape[1]
        by_class = cross_entropy(
            logits,
            labels.clamp(max=classes - 1),
            label_smoothing=label_smoothing,
            reduction="none",
        )
        allowed = logits.masked_fill(~self.members[labels], -torch.inf)
        by_group = logits.logsumexp(1) - allowed.logsumexp(1)
        # chosen without a look at the labels, for which a GPU would have to wait
        return torch.where(labels < classes, by_class, by_group).mean()

    def hits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return for how many images the likeliest class is one that the label allows, ()."""
        found = logits.argmax(1)
        if self.members is None:
            return (found == labels).sum()
        return self.members[labels, found].sum()
