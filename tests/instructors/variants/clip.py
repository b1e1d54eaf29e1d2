"""Variants of HW3/clip.py."""

IMAGE = "return v / v.norm(dim=1, keepdim=True)"
TEXT = "v = v / v.norm(dim=1, keepdim=True)"
CLAMP = "self.logit_scale.data.clamp_(max=4.605170185988092)"
LOGITS = "return self.logit_scale.exp() * (image_embs @ class_embs.t())"
ARGMAX = "return similarity.argmax(dim=1)"
BY_IMAGE = "by_image = -logits.log_softmax(dim=1)[torch.arange(len(labels)), labels].mean()"
BY_LABEL = "by_label.append(-logits[:, label].log_softmax(dim=0)[own].mean())"
SUM = "return (by_image + torch.stack(by_label).mean()) / 2"

RIGHT = {
    "alternative": ("other encoders, norms by hand, clamped in place, a loss by loops",),
    "clamped on the way": (
        "the parameter itself is not changed",
        (CLAMP, "scale = self.logit_scale.clamp(max=4.605170185988092)"),
        (LOGITS, LOGITS.replace("self.logit_scale", "scale")),
    ),
    "clamped after exp": (
        "at 100",
        (CLAMP, "scale = self.logit_scale.exp().clamp(max=100)"),
        (LOGITS, LOGITS.replace("self.logit_scale.exp()", "scale")),
    ),
    "normalised once more": (
        "unit vectors stay what they are",
        (
            LOGITS,
            "image_embs = image_embs / image_embs.norm(dim=1, keepdim=True)\n        " + LOGITS,
        ),
    ),
    "predict by logits": (
        "softmax(dim=1) and argmax",
        (ARGMAX, "return (similarity * self.logit_scale.exp()).softmax(dim=1).max(dim=1).indices"),
    ),
    "soft targets": (
        "the target over the images is uniform over the own ones",
        (
            BY_LABEL,
            "target = own.float() / own.sum()\n"
            "        by_label.append(nn.functional.cross_entropy(logits[:, label][None], target[None]))",
        ),
    ),
    "scalar logit_scale": ("shape ()", ("torch.ones(1)", "torch.ones(())")),
}

WRONG = {
    "test_image_embeddings": {
        "not normalised": ("any length", (IMAGE, "return v")),
        "normalised over the batch": ("the wrong axis", (IMAGE, IMAGE.replace("dim=1", "dim=0"))),
        "squared norm": ("v / |v|^2", (IMAGE, "return v / v.square().sum(1, keepdim=True)")),
        "softmax for norm": ("sums to 1", (IMAGE, "return v.softmax(dim=1)")),
        "L1 norm": ("v / sum |v|", (IMAGE, "return v / v.abs().sum(1, keepdim=True)")),
        "detached": ("the encoder can't learn", (IMAGE, "v = v.detach()\n        " + IMAGE)),
        "direction detached": (
            "only the norm has a gradient",
            (IMAGE, IMAGE.replace("return v /", "return v.detach() /")),
        ),
        "norm detached": (
            "the gradient also stretches the vector",
            (IMAGE, IMAGE.replace("keepdim=True)", "keepdim=True).detach()")),
        ),
        "centred over the batch": (
            "rows mixed",
            (
                "v = self.image_encoder(x)",
                "v = self.image_encoder(x)\n        v = v - v.mean(0, keepdim=True) * 0.5",
            ),
        ),
        "embed_dim fixed": ("always 128", ("nn.Linear(1024, embed_dim)", "nn.Linear(1024, 128)")),
        "in_channels ignored": ("always 1", ("nn.Conv2d(in_channels,", "nn.Conv2d(1,")),
        "encoder unused": (
            "pixels for features",
            (
                "v = self.image_encoder(x)",
                "v = x.flatten(1)[:, 300 : 300 + self.image_encoder[-1].out_features] + 0.1",
            ),
        ),
    },
    "test_text_embeddings": {
        "not normalised": ("any length", (TEXT, "v = v + 0")),
        "normalised over the batch": ("the wrong axis", (TEXT, TEXT.replace("dim=1", "dim=0"))),
        "detached": (
            "the encoder can't learn",
            (TEXT, "v = v.detach() / v.detach().norm(dim=1, keepdim=True)"),
        ),
        "labels ignored": (
            "one vector for all",
            ("v = self.text_encoder(labels)", "v = self.text_encoder(0 * labels)"),
        ),
        "digits 8 and 9 alike": (
            "labels clamped",
            (
                "v = self.text_encoder(labels)",
                "v = self.text_encoder(labels.clamp(max=self.num_classes - 2))",
            ),
        ),
        "order of the batch": (
            "labels 0, 1, 2 ... whatever they are",
            ("v = self.text_encoder(labels)", "v = self.text_encoder(torch.arange(len(labels)))"),
        ),
        "num_classes fixed": (
            "always 10 vectors",
            ("v = self.text_encoder(labels)", "v = self.text_encoder(torch.arange(10) % self.num_classes)"),
        ),
    },
    "test_logits": {
        "no exp": ("logit_scale is a logarithm", (LOGITS, LOGITS.replace(".exp()", ""))),
        "divided": (
            "similarity / exp(logit_scale)",
            (LOGITS, "return (image_embs @ class_embs.t()) / self.logit_scale.exp()"),
        ),
        "no temperature": ("similarity alone", (LOGITS, "return image_embs @ class_embs.t()")),
        "not clamped": ("above 100", (CLAMP, "pass")),
        "clamped at 100": (
            "the logarithm is clamped at 100",
            (CLAMP, CLAMP.replace("4.605170185988092", "100")),
        ),
        "clamped at 10": ("too low", (CLAMP, CLAMP.replace("4.605170185988092", "2.302585092994046"))),
        "clamped below": ("at least 0", (CLAMP, CLAMP.replace("clamp_(", "clamp_(0, "))),
        "temperature detached": ("it can't learn", (LOGITS, LOGITS.replace(".exp()", ".detach().exp()"))),
        "transposed": (
            "(K, B)",
            (LOGITS, LOGITS.replace("(image_embs @ class_embs.t())", "(class_embs @ image_embs.t())")),
        ),
        "softmax": ("probabilities for logits", (LOGITS, LOGITS + ".softmax(dim=1)")),
        "distance": (
            "for similarity",
            (LOGITS, "return -self.logit_scale.exp() * torch.cdist(image_embs, class_embs)"),
        ),
        "squared temperature": ("both sides are scaled", (LOGITS, LOGITS.replace(".exp()", ".exp() ** 2"))),
        "classes detached": (
            "the text encoder can't learn",
            (LOGITS, LOGITS.replace("class_embs.t()", "class_embs.detach().t()")),
        ),
    },
    "test_predict": {
        "argmin": ("the farthest label", (ARGMAX, ARGMAX.replace("argmax", "argmin"))),
        "argmax over the batch": ("an image for each label", (ARGMAX, ARGMAX.replace("dim=1", "dim=0"))),
        "softmax over the batch": (
            "the wrong axis",
            (ARGMAX, "return (20 * similarity).softmax(dim=0).argmax(dim=1)"),
        ),
        "probabilities": ("no labels", (ARGMAX, "return similarity.softmax(dim=1)")),
        "one-hot": (
            "(B, K)",
            (ARGMAX, "return nn.functional.one_hot(similarity.argmax(dim=1), self.num_classes)"),
        ),
        "1-based": ("label + 1", (ARGMAX, ARGMAX + " + 1")),
        "largest absolute similarity": (
            "the opposite counts, too",
            (ARGMAX, "return similarity.abs().argmax(dim=1)"),
        ),
        "first 4 labels": ("num_classes ignored", ("torch.arange(self.num_classes)", "torch.arange(4)")),
    },
    "test_clip_loss": {
        "softmax over the wrong axis": (
            "by_image over the batch",
            (BY_IMAGE, BY_IMAGE.replace("dim=1", "dim=0")),
        ),
        "one-sided": ("image to label alone", (SUM, "return by_image")),
        "other side": ("label to image alone", (SUM, "return torch.stack(by_label).mean()")),
        "not halved": ("the sum of both", (SUM, SUM.replace(" / 2", ""))),
        "sign": ("the likelihood", (SUM, SUM.replace("(by", "-(by"))),
        "sum": ("over the batch", (BY_IMAGE, BY_IMAGE.replace("mean", "sum"))),
        "one of many is right": (
            "other images of the same label count as wrong",
            (BY_LABEL, "own = torch.arange(len(labels)) == own.nonzero()[0]\n        " + BY_LABEL),
        ),
        "no softmax": ("logits themselves", (BY_IMAGE, BY_IMAGE.replace(".log_softmax(dim=1)", ""))),
        "twice softmax": (
            "probabilities as logits",
            (BY_IMAGE, BY_IMAGE.replace("logits.", "logits.softmax(dim=1).")),
        ),
        "diagonal": (
            "the i-th image belongs to label i",
            (BY_IMAGE, "by_image = -logits.log_softmax(dim=1).diagonal().mean()"),
        ),
    },
}
