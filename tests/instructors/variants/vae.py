"""Variants of HW3/vae.py."""

SAMPLE = "z = Normal(mu, std).rsample()"
STD = "std = (logvar / 2).exp()"
MSE = "rec = ((recon - x) ** 2).sum()"
BCE = "rec = -(x * recon.log() + (1 - x) * (1 - recon).log()).sum()"
KL = "kl = (logvar.exp() + mu**2 - 1 - logvar).sum() / 2"
TOTAL = "total = rec + kl_weight * kl"
DECODED = "images = self.draw(h)"
BRIGHT = "bright = self.decode(z).flatten(1).mean(1, keepdim=True) > threshold"
SAMPLED = "z = self.reparameterize(mu, logvar)"

RIGHT = {
    "alternative": ("rsample, other layers, parts of the loss as numbers",),
    "parts as tensors": (
        "the loss returns tensors",
        ("return total, rec.item(), kl.item()", "return total, rec, kl"),
    ),
    "eps by hand": ("mu + std * randn_like", (SAMPLE, "z = mu + std * torch.randn_like(std)")),
    "eps in float64": (
        "mu + std * randn(size)",
        (SAMPLE, "z = mu + std * torch.randn(mu.shape, dtype=torch.float64).float()"),
    ),
    "mu in eval mode": (
        "no sampling in eval mode",
        (SAMPLE, "z = Normal(mu, std).rsample() if self.training else mu"),
    ),
    "zero-initialised head": (
        "mu = logvar = 0 before training",
        (
            "self.expand =",
            "nn.init.zeros_(self.head.weight), nn.init.zeros_(self.head.bias)\n        self.expand =",
        ),
    ),
    "clamp for sigmoid": (
        "images cut off at 0 and 1",
        ("nn.Sigmoid()", "nn.Identity()"),
        (DECODED, "images = self.draw(h).clamp(0, 1)"),
    ),
    "tanh for sigmoid": (
        "(tanh + 1) / 2",
        ("nn.Sigmoid()", "nn.Tanh()"),
        (DECODED, "images = (self.draw(h) + 1) / 2"),
    ),
    "dropout": ("in the encoder", ("nn.Flatten()", "nn.Flatten(), nn.Dropout(0.1)")),
    "torch's losses": (
        "F.mse_loss and F.binary_cross_entropy",
        (MSE, 'rec = nn.functional.mse_loss(recon, x, reduction="sum")'),
        (BCE, 'rec = nn.functional.binary_cross_entropy(recon, x, reduction="sum")'),
    ),
    "torch's KL": (
        "torch.distributions",
        (
            KL,
            "kl = torch.distributions.kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).sum()",
        ),
    ),
    "latents as maps": (
        "mu, logvar and z of shape (B, D, 1, 1)",
        (
            "return mu, logvar\n\n    def rep",
            "return mu[:, :, None, None], logvar[:, :, None, None]\n\n    def rep",
        ),
        ("self.expand(z)", "self.expand(z.flatten(1))"),
        (
            "return z * (1 - 2 * bright.float())",
            "return z * (1 - 2 * bright.float()).view(-1, *[1] * (z.dim() - 1))",
        ),
    ),
}

WRONG = {
    "test_encode": {
        "logvar is mu": (
            "one head for both",
            ("return mu, logvar\n\n    def rep", "return mu, mu\n\n    def rep"),
        ),
        "latent_dim fixed": (
            "always 100",
            ("self.latent_dim = latent_dim", "self.latent_dim = latent_dim = 100"),
        ),
        "batch averaged": (
            "rows mixed by the encoder",
            (
                "mu, logvar = self.head(self.features(x)).chunk(2, dim=1)",
                "h = self.head(self.features(x))\n"
                "        mu, logvar = (h - h.mean(0, keepdim=True) / 2).chunk(2, dim=1)",
            ),
        ),
        "mu shared": (
            "the mean over the batch",
            (
                "return mu, logvar\n\n    def rep",
                "return mu.mean(0, keepdim=True).expand_as(mu), logvar\n\n    def rep",
            ),
        ),
        "wrong axis split": ("chunked over the batch", ("chunk(2, dim=1)", "chunk(2, dim=0)")),
    },
    "test_decode": {
        "no sigmoid": ("images of any range", ("nn.Sigmoid()", "nn.Identity()")),
        "tanh": ("images in [-1, 1]", ("nn.Sigmoid()", "nn.Tanh()")),
        "relu": ("images above 1", ("nn.Sigmoid()", "nn.ReLU()")),
        "z ignored": ("one image for all", ("h = self.expand(z)", "h = self.expand(0 * z)")),
        "softmax": (
            "rows mixed: a softmax over the batch",
            (DECODED, "images = self.draw(h).softmax(dim=0)"),
        ),
        "28x28": ("the wrong size", (DECODED, "images = self.draw(h)[:, :, 2:30, 2:30]")),
        "uint8": ("values 0 to 255", (DECODED, "images = self.draw(h) * 255")),
    },
    "test_reparameterize": {
        "logvar as deviation": ("mu + logvar eps", (STD, "std = logvar.abs()")),
        "variance as deviation": ("mu + exp(logvar) eps", (STD, "std = logvar.exp()")),
        "exp(2 logvar)": ("multiplied instead of halved", (STD, "std = (2 * logvar).exp()")),
        "sign of logvar": ("exp(-logvar / 2)", (STD, "std = (-logvar / 2).exp()")),
        "no sampling": ("z = mu", (SAMPLE, "z = mu + 0 * std")),
        "no mu": ("z = std eps", (SAMPLE, "z = Normal(0 * mu, std).rsample()")),
        "uniform eps": ("rand for randn", (SAMPLE, "z = mu + std * torch.rand_like(std)")),
        "eps shared by rows": ("one eps for the batch", (SAMPLE, "z = mu + std * torch.randn_like(std[:1])")),
        "eps shared by dimensions": (
            "one eps for each row",
            (SAMPLE, "z = mu + std * torch.randn_like(std[:, :1])"),
        ),
        "eps fixed": (
            "the same at each call",
            (SAMPLE, "z = mu + std * torch.randn(std.shape, generator=torch.Generator().manual_seed(0))"),
        ),
        "sample for rsample": ("no gradient", (SAMPLE, "z = Normal(mu, std).sample()")),
        "std detached": ("no gradient for logvar", (SAMPLE, "z = mu + std.detach() * torch.randn_like(std)")),
        "std clamped": ("at most 1", (STD, "std = (logvar / 2).exp().clamp(max=1)")),
    },
    "test_forward": {
        "decodes mu": ("no sampling in forward", (SAMPLED, "z = mu")),
        "order": ("mu, logvar, recon", ("return recon, mu, logvar", "return mu, logvar, recon")),
        "logvar and mu swapped": (
            "recon, logvar, mu",
            ("return recon, mu, logvar", "return recon, logvar, mu"),
        ),
        "two outputs": ("logvar is missing", ("return recon, mu, logvar", "return recon, mu")),
        "std returned": ("for logvar", ("return recon, mu, logvar", "return recon, mu, (logvar / 2).exp()")),
        "z detached": ("the encoder can't learn from recon", (SAMPLED, SAMPLED + ".detach()")),
        "x returned": ("as recon", ("recon = self.decode(z)", "recon = x")),
    },
    "test_reconstruction_loss": {
        "mse mean": ("mean instead of sum", (MSE, MSE.replace("sum", "mean"))),
        "mse per image": ("divided by the batch size", (MSE, MSE + " / len(x)")),
        "mse halved": ("half of it", (MSE, MSE + " / 2")),
        "bce mean": ("mean instead of sum", (BCE, BCE.replace("sum", "mean"))),
        "absolute": ("L1", (MSE, "rec = (recon - x).abs().sum()")),
        "bce sign": ("the log-likelihood itself", (BCE, BCE.replace("-(", "(", 1))),
        "bce with logits": (
            "a second sigmoid",
            (BCE, 'rec = nn.functional.binary_cross_entropy_with_logits(recon, x, reduction="sum")'),
        ),
        "bce swapped": (
            "x and recon swapped",
            (BCE, "rec = -(recon * x.log() + (1 - recon) * (1 - x).log()).sum()"),
        ),
        "half of bce": ("the second term is missing", (BCE, "rec = -(x * recon.log()).sum()")),
        "always mse": ("loss_type ignored", ('if loss_type == "bce":', "if False:")),
        "bce by default": ("another default", ('loss_type="mse"):', 'loss_type="bce"):')),
    },
    "test_kl_loss": {
        "KL sign": ("-KL", (KL, "kl = -(logvar.exp() + mu**2 - 1 - logvar).sum() / 2")),
        "KL mean": ("mean instead of sum", (KL, KL.replace("sum", "mean"))),
        "KL per image": (
            "mean over the batch",
            (KL, "kl = (logvar.exp() + mu**2 - 1 - logvar).sum(1).mean() / 2"),
        ),
        "KL not halved": ("twice as large", (KL, KL.replace(" / 2", ""))),
        "mu not squared": ("mu for mu^2", (KL, KL.replace("mu**2", "mu"))),
        "no exp": ("logvar for exp(logvar)", (KL, KL.replace("logvar.exp()", "logvar**2"))),
        "logvar is the deviation": (
            "exp(2 logvar) - 2 logvar",
            (KL, "kl = ((2 * logvar).exp() + mu**2 - 1 - 2 * logvar).sum() / 2"),
        ),
        "logvar is the variance": (
            "logvar - log(logvar)",
            (KL, "kl = (logvar.abs() + mu**2 - 1 - logvar.abs().log()).sum() / 2"),
        ),
        "-1 missing": ("a constant", (KL, KL.replace(" - 1", ""))),
        "kl_weight ignored": ("weight 1", (TOTAL, "total = rec + kl")),
        "kl_weight on rec": ("the wrong term", (TOTAL, "total = kl_weight * rec + kl")),
        "kl_weight in kl": ("kl is returned weighted", (TOTAL, "kl = kl_weight * kl\n    total = rec + kl")),
        "KL subtracted": ("rec - kl", (TOTAL, "total = rec - kl_weight * kl")),
        "KL detached": ("no gradient", (TOTAL, "total = rec + kl_weight * kl.detach()")),
        "total is rec": ("no KL in bce", (TOTAL, TOTAL + ' * (loss_type == "mse")')),
        "default weight": ("0.1 by default", ("kl_weight=1.0", "kl_weight=0.1")),
        "free bits": (
            "kl at least 1 per dimension",
            (KL, "kl = ((logvar.exp() + mu**2 - 1 - logvar) / 2).clamp(min=1).sum()"),
        ),
        "order of the parts": (
            "total, kl, rec",
            ("return total, rec.item(), kl.item()", "return total, kl.item(), rec.item()"),
        ),
    },
    "test_canonicalize_latent": {
        "flipped where dark": ("the wrong side", (BRIGHT, BRIGHT.replace(">", "<"))),
        "never flipped": ("z", ("return z * (1 - 2 * bright.float())", "return z")),
        "always flipped": ("-z", ("return z * (1 - 2 * bright.float())", "return -z")),
        "set to zero": ("no flip", ("1 - 2 * bright", "1 - 1 * bright")),
        "decided for the batch": ("rows mixed", (BRIGHT, "bright = self.decode(z).mean() > threshold")),
        "threshold ignored": ("always 0.5", (BRIGHT, BRIGHT.replace("threshold", "0.5"))),
        "default threshold": ("0.3", ("threshold=0.5", "threshold=0.3")),
        "by the sum of z": (
            "the image is not looked at",
            (BRIGHT, "bright = z.flatten(1).mean(1, keepdim=True) > 0"),
        ),
        "brightest pixel": (
            "maximum for mean",
            (BRIGHT, BRIGHT.replace(".mean(1, keepdim=True)", ".amax(1, keepdim=True)")),
        ),
    },
}
