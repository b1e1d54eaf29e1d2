"""Variants of HW3/Unet.py."""

OUT = "out = self.leave(torch.cat([h, skip], dim=1))"
EXTRA = "extra = self.time(t)"
COND = "extra = torch.cat([extra, self.cond(cond)], dim=1)"
OWN = """
class UNet(UNet):
    def forward(self, x, t, cond=None):
        return {}
"""

RIGHT = {
    "alternative": ("learned times, everything concatenated, tanh, no normalisation",),
    "zero-initialised last layer": (
        "predicts 0 before training",
        (
            "    def forward(",
            "        nn.init.zeros_(self.leave.weight), nn.init.zeros_(self.leave.bias)\n\n    def forward(",
        ),
    ),
    "added condition": (
        "time + condition",
        ("(8 if cond_dim is None else 16)", "8"),
        (COND, "extra = extra + self.cond(cond)"),
    ),
    "FiLM": (
        "the condition scales and shifts",
        ("(8 if cond_dim is None else 16)", "8"),
        ("nn.Linear(cond_dim, 8)", "nn.Linear(cond_dim, 16)"),
        (
            COND,
            "scale, shift = self.cond(cond).chunk(2, dim=1)\n            extra = extra * (1 + scale) + shift",
        ),
    ),
    "attention": (
        "pixels attend to the components of the condition",
        (
            "self.cond = nn.Linear(cond_dim, 8)",
            "self.cond = nn.MultiheadAttention(base_channels, 2, batch_first=True)\n"
            "            self.tokens = nn.Parameter(torch.randn(2, cond_dim, base_channels))",
        ),
        ("(8 if cond_dim is None else 16)", "8"),
        (COND, "pass"),
        (
            "        h = torch.tanh(self.up",
            "        if self.cond_dim is not None:\n"
            "            tokens = self.tokens[0] * cond[:, :, None] + self.tokens[1]\n"
            "            skip = skip + self.cond(skip.flatten(2).mT, tokens, tokens)[0].mT.view_as(skip)\n"
            "        h = torch.tanh(self.up",
        ),
    ),
    "own, wrapped": (
        "another subclass of nn.Module around HW3's",
        OWN.format("super().forward(x, t) if cond is None else super().forward(x, t, cond=cond)"),
    ),
    "batch normalisation": (
        "rows are apart in eval mode",
        (
            "skip = torch.tanh(self.enter(torch.cat([x, extra], dim=1)))",
            "skip = torch.tanh(self.norm(self.enter(torch.cat([x, extra], dim=1))))",
        ),
        ("        self.down =", "        self.norm = nn.BatchNorm2d(base_channels)\n        self.down ="),
    ),
    "relu": ("some pixels may have no slope", ("skip = torch.tanh(", "skip = torch.relu(")),
}

CONDITION = {
    "condition ignored": ("not used", (COND, COND.replace("cond)", "0 * cond)"))),
    "condition averaged": (
        "over the batch",
        (COND, COND.replace("cond)", "cond.mean(0, keepdim=True).expand_as(cond))")),
    ),
    "condition detached": ("no gradient by it", (COND, COND.replace("cond)", "cond.detach())"))),
    "condition of the next row": ("batch rows mixed", (COND, COND.replace("cond)", "cond.roll(1, 0))"))),
    "first component only": (
        "the rest of the condition is ignored",
        (COND, COND.replace("cond)", "cond[:, :1].expand_as(cond))")),
    ),
    "length of the condition only": (
        "which is 1",
        (COND, COND.replace("cond)", "cond.norm(dim=1, keepdim=True).expand_as(cond))")),
    ),
    "condition for time": (
        "the timestep is lost",
        (COND, "extra = torch.cat([0 * extra, self.cond(cond)], dim=1)"),
    ),
    "condition by argmax": (
        "no gradient, most of it ignored",
        (COND, COND.replace("cond)", "torch.nn.functional.one_hot(cond.argmax(1), cond.shape[1]).float())")),
    ),
    "softmax over the batch": ("the wrong axis", (COND, COND.replace("cond)", "cond.softmax(0))"))),
    "condition instead of x": (
        "x is lost",
        ("torch.cat([x, extra]", "torch.cat([x if cond is None else 0 * x, extra]"),
    ),
}

WRONG = {
    "test_shape": {
        "half the size": ("no upsampling at the end", (OUT, OUT + "[:, :, ::2, ::2]")),
        "one channel": ("in_channels ignored at the end", (OUT, OUT + "[:, :1]")),
        "tanh at the end": ("noise is not in [-1, 1]", (OUT, OUT + ".tanh()")),
        "sigmoid at the end": ("noise is not in [0, 1]", (OUT, OUT + ".sigmoid()")),
        "clamped": ("noise is not in [-1, 1]", (OUT, OUT + ".clamp(-1, 1)")),
        "relu at the end": ("noise is not positive", (OUT, OUT + ".relu()")),
        "flattened": ("(B, C H W)", (OUT, OUT + ".flatten(1)")),
    },
    "test_time": {
        "time ignored": ("t is not used", (EXTRA, "extra = 0 * self.time(t)")),
        "t of the first row": ("for all", (EXTRA, "extra = self.time(t[:1]).expand(len(x), -1)")),
        "time averaged": (
            "over the batch",
            (EXTRA, "extra = self.time(t).mean(0, keepdim=True).expand(len(x), -1)"),
        ),
        "even and odd t": ("t // 2", (EXTRA, "extra = self.time(t // 2)")),
        "t clamped": ("no more than 500", (EXTRA, "extra = self.time(t.clamp(max=500))")),
        "t of the next row": ("batch rows mixed", (EXTRA, "extra = self.time(t.roll(1, 0))")),
    },
    "test_rows": {
        "batch mean": (
            "subtracted: rows mixed",
            (OUT, OUT + "\n        out = out - out.mean(0, keepdim=True)"),
        ),
        "rows rolled": ("rows mixed", (OUT, OUT + ".roll(1, 0)")),
        "x ignored": ("the prediction is only about t", ("torch.cat([x, extra]", "torch.cat([0 * x, extra]")),
        "half of x": (
            "the right half is not seen",
            ("torch.cat([x, extra]", "torch.cat([x * (torch.arange(x.shape[-1]) < 16), extra]"),
        ),
        "x detached": ("nothing flows back", ("torch.cat([x, extra]", "torch.cat([x.detach(), extra]")),
        "batch statistics in eval mode": (
            "rows mixed",
            (OUT, OUT + "\n        out = out / out.std(0, keepdim=True)"),
        ),
    },
    "test_condition": CONDITION,
}
