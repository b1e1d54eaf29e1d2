"""Another right TinyCLIP: other encoders, norms by hand, temperature clamped in place, a loss by loops."""

import torch
from torch import nn


class TinyCLIP(nn.Module):
    def __init__(self, in_channels=1, embed_dim=128, num_classes=10):
        super().__init__()
        self.num_classes = num_classes
        self.image_encoder = nn.Sequential(
            nn.Conv2d(in_channels, 16, 5, 4, 2), nn.SiLU(), nn.Flatten(), nn.Linear(1024, embed_dim)
        )
        self.text_encoder = nn.Sequential(nn.Embedding(num_classes, 32), nn.Tanh(), nn.Linear(32, embed_dim))
        self.logit_scale = nn.Parameter(torch.ones(1) * 2.66)

    def forward_image(self, x):
        v = self.image_encoder(x)
        return v / v.norm(dim=1, keepdim=True)

    def forward_text(self, labels):
        v = self.text_encoder(labels)
        v = v / v.norm(dim=1, keepdim=True)
        return v

    def compute_logits(self, image_embs, class_embs):
        self.logit_scale.data.clamp_(max=4.605170185988092)
        return self.logit_scale.exp() * (image_embs @ class_embs.t())

    def predict(self, x):
        similarity = self.forward_image(x) @ self.forward_text(torch.arange(self.num_classes)).t()
        return similarity.argmax(dim=1)


def clip_loss(logits, labels):
    by_image = -logits.log_softmax(dim=1)[torch.arange(len(labels)), labels].mean()
    by_label = []
    for label in labels.unique():
        own = labels == label
        by_label.append(-logits[:, label].log_softmax(dim=0)[own].mean())
    return (by_image + torch.stack(by_label).mean()) / 2
