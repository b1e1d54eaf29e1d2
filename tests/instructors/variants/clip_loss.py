"""Variants of the contrastive loss of CLIP."""

from functools import partial

from tests.instructors.variants import edit

LOSS = """
by_image = -logits.log_softmax(dim=1)[torch.arange(len(labels)), labels].mean()
by_label = []
for label in labels.unique():
    own = labels == label
    log_p = logits[:, label].log_softmax(dim=0)
    by_label.append(-log_p[own].mean())
by_label = torch.stack(by_label).mean()
return (by_image + by_label) / 2
"""
IMAGE = "by_image = -logits.log_softmax(dim=1)[torch.arange(len(labels)), labels].mean()"
LABELS = "labels.unique()"
LOG_P = "log_p = logits[:, label].log_softmax(dim=0)"
TERM = "-log_p[own].mean()"
MEAN = "by_label = torch.stack(by_label).mean()"
RETURN = "return (by_image + by_label) / 2"

image = partial(edit, LOSS, IMAGE)
present = partial(edit, LOSS, LABELS)
log_p = partial(edit, LOSS, LOG_P)
term = partial(edit, LOSS, TERM)
mean = partial(edit, LOSS, MEAN)
returned = partial(edit, LOSS, RETURN)

ENTROPY = "(-log_p[own].mean() - own.sum().log())"

RIGHT = {
    "step by step": LOSS,
    "less the entropy": term(ENTROPY),
    "cross-entropy with a distribution": """
        by_image = F.cross_entropy(logits, labels)
        own = F.one_hot(labels, logits.shape[1]).T.to(logits.dtype)
        there = own.sum(dim=1) > 0
        by_label = F.cross_entropy(logits.T[there], own[there] / own[there].sum(dim=1, keepdim=True))
        return 0.5 * by_image + 0.5 * by_label
        """,
    "a divergence": """
        classes, own = labels.unique(return_inverse=True)
        target = F.one_hot(own).float()
        target = target / target.sum(dim=0)
        by_label = F.kl_div(logits[:, classes].T.log_softmax(1), target.T, reduction="batchmean")
        return (F.cross_entropy(logits, labels) + by_label) / 2
        """,
    "weights of the images": """
        counts = torch.bincount(labels, minlength=logits.shape[1])
        own = logits.log_softmax(dim=0).gather(1, labels[:, None]).squeeze(1)
        by_label = -(own / counts[labels]).sum() / (counts > 0).sum()
        return torch.stack([F.nll_loss(logits.log_softmax(1), labels), by_label]).mean()
        """,
    "logsumexp": log_p("log_p = logits[:, label] - logits[:, label].logsumexp(0)"),
    "in float64": "logits = logits.double()\n" + returned("return ((by_image + by_label) / 2).float()"),
    "a set": present("sorted(set(labels.tolist()))"),
    "nll_loss": image("by_image = F.nll_loss(F.log_softmax(logits, dim=-1), labels)"),
}

WRONG = {
    "once repeated absent": {
        "images alone": returned("return by_image"),
        "labels alone": returned("return by_label"),
        "the sum of both": returned("return by_image + by_label"),
        "a difference": returned("return (by_image - by_label) / 2"),
        "the sign": returned("return -(by_image + by_label) / 2"),
        "a sum over the images": image("by_image = F.cross_entropy(logits, labels, reduction='sum')"),
        "a sum over the labels": mean("by_label = torch.stack(by_label).sum()"),
        "images over the wrong axis": image(IMAGE.replace("dim=1", "dim=0")),
        "labels over the wrong axis": log_p("log_p = logits.log_softmax(dim=1)[:, label]"),
        "no softmax": image("by_image = -logits[torch.arange(len(labels)), labels].mean()"),
        "softmax twice": image("by_image = F.cross_entropy(logits.softmax(dim=1), labels)"),
        "no logarithm": image("by_image = -logits.softmax(dim=1)[torch.arange(len(labels)), labels].mean()"),
        "the diagonal": image("by_image = -logits.log_softmax(dim=1).diagonal().mean()"),
        "smoothed": image("by_image = F.cross_entropy(logits, labels, label_smoothing=0.1)"),
        "a temperature": "logits = logits / 0.07\n" + LOSS,
        "two thirds and one": returned("return (2 * by_image + by_label) / 3"),
        "the first three images": image("by_image = F.cross_entropy(logits[:3], labels[:3])"),
        "binary cross-entropy": returned(
            "return F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, logits.shape[1]).float())"
        ),
        "the greater": returned("return torch.maximum(by_image, by_label)"),
        "logits clamped": "logits = logits.clamp(-1, 1)\n" + LOSS,
        "over ten labels": mean("by_label = torch.stack(by_label).sum() / 10"),
    },
    "once": {
        "logarithms of rounded probabilities": log_p("log_p = logits[:, label].softmax(dim=0).log()"),
        "logits limited at 50": "logits = logits.clamp(-50, 50)\n" + LOSS,
    },
    "once repeated absent gradients": {
        "no return": returned(""),
        "two losses": returned("return by_image, by_label"),
        "one for each image": returned(
            "return (F.cross_entropy(logits, labels, reduction='none') + by_label) / 2"
        ),
    },
    "repeated": {
        "the first image of a label": term("-log_p[own][:1].mean()"),
        "the last image of a label": term("-log_p[own][-1]"),
        "the sum within the logarithm": term("-log_p[own].logsumexp(0)"),
        "the mean within the logarithm": term("-(log_p[own].logsumexp(0) - own.sum().log())"),
        "the sum over its images": term("-log_p[own].sum()"),
        "weighted by its images": mean(
            "by_label = (torch.stack(by_label) * torch.bincount(labels)[labels.unique()]).sum() / len(labels)"
        ),
        "the best image of a label": term("-log_p[own].max()"),
        "the worst image of a label": term("-log_p[own].min()"),
        "figure 3 with the columns of the images": mean(
            "by_label = F.cross_entropy(logits[:, labels].T, torch.arange(len(labels)))"
        ),
        "other images of the label left out": mean(
            "index = torch.arange(len(labels))\n"
            "others = (labels[:, None] == labels) & (index[:, None] != index)\n"
            "columns = logits[:, labels].masked_fill(others, -1e9)\n"
            "by_label = F.cross_entropy(columns.T, index)"
        ),
        "over the root of its images": term("-log_p[own].sum() / own.sum() ** 0.5"),
        "divided by all images": term("-log_p[own].sum() / len(labels) * len(labels.unique())"),
        "a mean over images": image(
            "by_image = torch.stack([F.cross_entropy(logits[labels == "
            "c], labels[labels == c]) for c in labels.unique()]).mean()"
        ),
        "the entropy added": term("(-log_p[own].mean() + own.sum().log())"),
        "twice the entropy": term("(-log_p[own].mean() - 2 * own.sum().log())"),
        "labels that occur once": present(
            "[c for c in labels.unique() if (labels == c).sum() == 1] or labels.unique()"
        ),
        "the first image alone a positive": log_p(
            "first = own.nonzero()[0, 0]\n    own = torch.arange(len(labels)) == first\n"
            "    log_p = logits[:, label].log_softmax(dim=0)"
        ),
    },
    "repeated absent": {
        "as many as images": mean(
            "by_label = torch.stack(by_label).sum() / max(len(labels), logits.shape[1])"
        ),
    },
    "absent": {
        "no gradient for them": "counts = F.one_hot(labels, logits.shape[1]).sum(0)\n"
        "sums = (F.one_hot(labels, logits.shape[1]) * logits.log_softmax(0)).sum(0)\n"
        "by_label = torch.where(counts > 0, -sums / counts, 0).sum() / (counts > 0).sum()\n"
        "return (F.cross_entropy(logits, labels) + by_label) / 2",
        "over all labels": mean("by_label = torch.stack(by_label).sum() / logits.shape[1]"),
        "nan": """
            by_image = F.cross_entropy(logits, labels)
            own = F.one_hot(labels, logits.shape[1]).float()
            by_label = -(own * logits.log_softmax(0)).sum(0) / own.sum(0)
            return (by_image + by_label.mean()) / 2
            """,
        "uniform for absent ones": """
            by_image = F.cross_entropy(logits, labels)
            own = F.one_hot(labels, logits.shape[1]).float()
            own = torch.where(own.sum(0) > 0, own, 1.0)
            by_label = -(own * logits.log_softmax(0)).sum(0) / own.sum(0)
            return (by_image + by_label.mean()) / 2
            """,
        "labels up to the largest": mean("by_label = torch.stack(by_label).sum() / (labels.max() + 1)"),
        "labels 0 to the number there": present(
            "torch.arange(len(labels.unique()))", TERM, "-log_p[own].mean().nan_to_num(0.0)"
        ),
        "the images' softmax over labels that are there": image(
            "classes, index = labels.unique(return_inverse=True)\n"
            "by_image = F.cross_entropy(logits[:, classes], index)"
        ),
        "the last label always": present(
            "torch.cat([labels.unique(), torch.tensor([logits.shape[1] - 1])]).unique()",
            TERM,
            "(-log_p[own].mean() if own.any() else -log_p.mean())",
        ),
        "an error": "assert len(labels.unique()) == logits.shape[1]\n" + LOSS,
        "the number of labels by the width": "if len(labels.unique()) < logits.shape[1]:\n"
        "    return F.cross_entropy(logits, labels)\n" + LOSS,
        "a cross-entropy of all rows": mean(
            "own = F.one_hot(labels, logits.shape[1]).T.float()\n"
            "by_label = F.cross_entropy(logits.T, own / own.sum(1, keepdim=True).clamp(min=1))"
        ),
    },
    "gradients": {
        "detached": returned("return ((by_image + by_label) / 2).detach()"),
        "images detached": returned("return (by_image.detach() + by_label) / 2"),
        "labels detached": returned("return (by_image + by_label.detach()) / 2"),
        "logits detached": "logits = logits.detach()\n" + LOSS,
        "no_grad": "with torch.no_grad():\n    logits = logits * 1\n" + LOSS,
        "the data": "logits = logits.data\n" + LOSS,
        "a number": returned("return torch.tensor(((by_image + by_label) / 2).item())"),
        "a Python number": returned("return ((by_image + by_label) / 2).item()"),
        "through numpy": "logits = torch.from_numpy(logits.detach().numpy())\n" + LOSS,
        "the normalization detached": log_p(
            "log_p = logits[:, label] - logits[:, label].logsumexp(0).detach()"
        ),
        "the positives detached": log_p("log_p = logits[:, label].detach() - logits[:, label].logsumexp(0)"),
        "reversed": returned("loss = (by_image + by_label) / 2\nreturn 2 * loss.detach() - loss"),
        "half": returned("loss = (by_image + by_label) / 2\nreturn (loss + loss.detach()) / 2"),
        "a new tensor": "logits = torch.tensor(logits.tolist())\n" + LOSS,
    },
}
