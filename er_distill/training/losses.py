"""What a list of candidates loses: against labels, and against the logits of a bigger model.

The question a teacher answers is "which of these candidates is this record, or none of them?". The encoder learns that
question: the logits of a query's candidates, with 0 for "none" beside them, go through one softmax, so that a pair's
logit is its log-odds against "none". Where several candidates may be right (dedup, a teacher who names two) a softmax
cannot say so, and each pair is a yes-or-no question of its own; its logit still is the log-odds against "no".
"""

from __future__ import annotations

from er_distill.training import missing_extra
from er_distill.training.lists import CandidateList

try:
    import torch
    from torch.nn import functional as F
except ImportError as error:
    raise missing_extra(error) from error


def list_loss(logits: torch.Tensor, candidates: CandidateList, objective: str) -> torch.Tensor:
    """Return the loss of one list; with weights of 1 its gradient by a logit is (probability - target).

    Parameters
    ----------
    logits : Tensor of float32, shape (k,)
    candidates : CandidateList
    objective : {"listwise", "pairwise", "both"}

    Returns
    -------
    Tensor of float32, a scalar
    """
    target, weight = candidates.target.to(logits.device), candidates.weight.to(logits.device)
    loss = logits.new_zeros(())
    listwise = objective != "pairwise" and candidates.choose_one
    if listwise:
        # Each answer counts by its own weight: a match that is doubted takes its list's vote with it, and "none", which
        # is said of all candidates, counts by their mean.
        none = (1 - target.sum()).clamp(min=0) * weight.mean()
        wanted = torch.cat([none[None], target * weight])
        loss = loss - (wanted * F.log_softmax(_with_none(logits), 0)).sum()
    if objective == "both" or not listwise:
        loss = loss + F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    return loss


def imitation_loss(logits: torch.Tensor, candidates: CandidateList, imitate: str, temperature: float) -> torch.Tensor:
    """Return how far a list's logits are from those of a bigger model.

    Parameters
    ----------
    logits : Tensor of float32, shape (k,)
    candidates : CandidateList
        With `teacher`.
    imitate : {"distribution", "margin"}
        "distribution": the divergence of the two softmaxes over "none" and the candidates at `temperature`, times its
        square, so that gradients keep their size (Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural
        network"). Where several candidates may be right, that of each pair's two outcomes.
        "margin": the squared error of the margins by which the bigger model's choice, "none" among them, leads the
        others (Hofstätter et al. 2020, "Improving efficient neural ranking models with cross-architecture knowledge
        distillation").
    temperature : float
        Above 1 the small probabilities of wrong candidates count for more.

    Returns
    -------
    Tensor of float32, a scalar
    """
    if candidates.teacher is None:
        raise ValueError("these candidates have no teacher logits")
    teacher, weight = candidates.teacher.to(logits.device), candidates.weight.to(logits.device)
    if imitate == "margin":
        wanted, given = _with_none(teacher), _with_none(logits)
        best = int(wanted.argmax())
        difference = (given[best] - given) - (wanted[best] - wanted)
        return weight.mean() * difference.square().sum() / len(logits)
    if candidates.choose_one:
        wanted, given = (F.log_softmax(_with_none(x) / temperature, 0) for x in (teacher, logits))
        return weight.mean() * temperature**2 * F.kl_div(given, wanted, reduction="sum", log_target=True)
    wanted, given = (F.logsigmoid(torch.stack([x, -x]) / temperature) for x in (teacher, logits))
    by_pair = F.kl_div(given, wanted, reduction="none", log_target=True).sum(0)
    return temperature**2 * (weight * by_pair).sum()


def _with_none(logits: torch.Tensor) -> torch.Tensor:
    return torch.cat([logits.new_zeros(1), logits])
