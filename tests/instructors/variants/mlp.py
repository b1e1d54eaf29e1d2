"""Variants of HW3/mlp.py."""

OUT = "out = self.last(h)"
TIME = "self.time(t)]"
COND = "parts.append(cond)"

RIGHT = {
    "alternative": ("x, time and condition concatenated",),
    "zero-initialised last layer": (
        "predicts 0 before training",
        (
            "    def forward(",
            "        nn.init.zeros_(self.last.weight), nn.init.zeros_(self.last.bias)\n\n    def forward(",
        ),
    ),
    "added condition": (
        "time + condition",
        ("+ (cond_dim or 0)", ""),
        ("        self.last", "        self.cond = nn.Linear(cond_dim or 1, time_dim)\n        self.last"),
        (COND, "parts[1] = parts[1] + self.cond(cond)"),
    ),
    "gated condition": (
        "the condition multiplies the hidden layer",
        ("+ (cond_dim or 0)", ""),
        ("        self.last", "        self.cond = nn.Linear(cond_dim or 1, hidden_dim)\n        self.last"),
        (COND, "pass"),
        (OUT, "if self.cond_dim is not None:\n            h = h * (1 + self.cond(cond))\n        " + OUT),
    ),
    "skip": ("predicts a change of x", (OUT, "out = self.last(h) + x.flatten(1)")),
}

WRONG = {
    "test_shape": {
        "always (B, D)": ("(B, D, 1, 1) comes back flat", ("return out.reshape(x.shape)", "return out")),
        "always (B, D, 1, 1)": (
            "(B, D) comes back as maps",
            ("return out.reshape(x.shape)", "return out[:, :, None, None]"),
        ),
        "only (B, D)": ("fails for (B, D, 1, 1)", ("x.flatten(1)", "x")),
        "tanh at the end": ("noise is not in [-1, 1]", (OUT, OUT + ".tanh()")),
        "latent_dim fixed": (
            "always 100",
            ("width = latent_dim", "latent_dim = 100\n        width = latent_dim"),
        ),
    },
    "test_time": {
        "time ignored": ("t is not used", (TIME, "0 * self.time(t)]")),
        "t of the first row": ("for all", (TIME, "self.time(t[:1]).expand(len(x), -1)]")),
        "time averaged": ("over the batch", (TIME, "self.time(t).mean(0, keepdim=True).expand(len(x), -1)]")),
        "x ignored": ("only t counts", ("x.flatten(1)", "0 * x.flatten(1)")),
        "batch mean": ("rows mixed", (OUT, OUT + "\n        out = out - out.mean(0, keepdim=True)")),
        "softmax over the batch": ("rows mixed", (OUT, "out = self.last(h.softmax(dim=0))")),
        "half of x": (
            "the other half is not seen",
            ("x.flatten(1)", "x.flatten(1) * (torch.arange(x.shape[1]) % 2)"),
        ),
    },
    "test_unet.py::test_condition": {
        "condition ignored": ("not used", (COND, "parts.append(0 * cond)")),
        "condition averaged": (
            "over the batch",
            (COND, "parts.append(cond.mean(0, keepdim=True).expand_as(cond))"),
        ),
        "condition detached": ("no gradient by it", (COND, "parts.append(cond.detach())")),
        "condition rounded": ("only signs, no gradient", (COND, "parts.append(cond.sign())")),
        "condition of the next row": ("batch rows mixed", (COND, "parts.append(cond.roll(1, 0))")),
        "condition for time": (
            "t is lost",
            (COND, "parts[1] = 0 * parts[1]\n            parts.append(cond)"),
        ),
        "condition for x": ("x is lost", (COND, "parts[0] = 0 * parts[0]\n            parts.append(cond)")),
    },
}
