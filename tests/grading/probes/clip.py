"""Probes of HW3/clip.py."""

import torch

from tests.grading.probes.common import copy, gradients_of, plain


def compute_logits(logit_scale, image_embs, class_embs, training=True, grad=False):
    """Call TinyCLIP.compute_logits with this parameter."""
    from HW3.clip import TinyCLIP

    model = TinyCLIP(embed_dim=image_embs.shape[1], num_classes=len(class_embs)).train(training)
    with torch.no_grad():
        model.logit_scale.fill_(logit_scale)
    image_embs, class_embs = copy(image_embs, grad), copy(class_embs, grad)
    result = model.compute_logits(image_embs, class_embs)
    gradients = gradients_of(result, model.logit_scale, image_embs, class_embs)
    return {"result": plain(result), "gradients": gradients}


def clip_loss(logits, labels, grad=False):
    """Call clip_loss."""
    from HW3.clip import clip_loss

    logits = copy(logits, grad)
    result = clip_loss(logits, labels.clone())
    return {"result": plain(result), "gradients": gradients_of(result, logits), "argument": plain(logits)}
