"""Variants of the loop of DDPM."""

from functools import partial

from tests.instructors.variants import edit

LOOP = """
for step in range(self.config.timesteps - 1, -1, -1):
    t = torch.full((batch_size,), step, device=x_t.device)
    mean, variance, x0_pred = self.p_mean_variance(x_t, t, cond)
    z = randn_like(x_t, generator)
    x_t = mean + variance.sqrt() * z
return x_t
"""
FOR = "for step in range(self.config.timesteps - 1, -1, -1):"
TIME = "t = torch.full((batch_size,), step, device=x_t.device)"
MEAN = "mean, variance, x0_pred = self.p_mean_variance(x_t, t, cond)"
NOISE = "z = randn_like(x_t, generator)"
STEP = "x_t = mean + variance.sqrt() * z"
RETURN = "\nreturn x_t"

loop = partial(edit, LOOP)
steps = partial(edit, LOOP, FOR)
time = partial(edit, LOOP, TIME)
mean = partial(edit, LOOP, MEAN)
noise = partial(edit, LOOP, NOISE)
step = partial(edit, LOOP, STEP)
returned = partial(edit, LOOP, RETURN)

RIGHT = {
    "step by step": LOOP,
    "a while loop": """
        step = self.config.timesteps
        while step > 0:
            step -= 1
            t = torch.ones(batch_size, dtype=torch.long) * step
            mean, variance, _ = self.p_mean_variance(x_t, t, cond=cond)
            x_t = mean + variance**0.5 * randn_like(x_t, generator)
        return x_t
        """,
    "no noise drawn at the end": step(
        "x_t = mean if step == 0 else " + STEP[6:], NOISE, "z = randn_like(x_t, generator) if step else 0"
    ),
    "the deviation from the table": step("x_t = mean + self.posterior_variance[step].sqrt() * z"),
    "torch.randn": noise("z = torch.randn(x_t.shape, generator=generator)"),
    "normal": step("x_t = mean + variance.sqrt() * z if step > 0 else mean"),
    "a tensor of timesteps": steps(
        "for t in torch.arange(self.config.timesteps).flip(0)[:, None].expand(-1, batch_size):", TIME, ""
    ),
    "the last step after the loop": """
        *early, last = reversed(range(self.config.timesteps))
        for step in early:
            mean, variance, _ = self.p_mean_variance(x_t, x_t.new_full((batch_size,), step).long(), cond)
            x_t = torch.addcmul(mean, variance.sqrt(), randn_like(x_t, generator))
        return self.p_mean_variance(x_t, torch.full((batch_size,), last), cond)[0]
        """,
}

WRONG = {
    "timesteps": {
        "at most 1000": steps("for step in range(min(self.config.timesteps, 1000) - 1, -1, -1):"),
    },
    "timesteps step noise": {
        "a step for each row": time("t = (step - torch.arange(batch_size)).clamp(min=0)"),
    },
    "timesteps step noise last_step": {
        "upwards": steps("for step in range(self.config.timesteps):"),
        "in random order": steps("for step in torch.randperm(self.config.timesteps).tolist():"),
        "no return": loop(RETURN, ""),
        "the steps too": returned("\nreturn x_t, self.config.timesteps"),
    },
    "timesteps step noise last_step inputs": {
        "without 0": steps("for step in range(self.config.timesteps - 1, 0, -1):"),
        "from T - 2": steps("for step in range(self.config.timesteps - 2, -1, -1):"),
        "every second": steps("for step in range(self.config.timesteps - 1, -1, -2):"),
        "1-based": steps("for step in range(self.config.timesteps, 0, -1):"),
        "0 twice": loop(FOR, "for step in [*range(self.config.timesteps - 1, -1, -1), 0]:"),
        "T - 1 twice": loop(
            FOR, "for step in [self.config.timesteps - 1, *range(self.config.timesteps - 1, -1, -1)]:"
        ),
        "50 steps": steps("for step in self.ddim_timesteps(min(50, self.config.timesteps // 2)):"),
        "1000 always": steps("for step in range(999, -1, -1):"),
        "one step": steps("for step in [self.config.timesteps - 1]:"),
        "ended early": step(STEP + "\n    if step == self.config.timesteps // 2:\n        break"),
        "returns in the loop": loop(RETURN, "\n    return x_t"),
    },
    "timesteps last_step": {
        "noise of the second last at the end": step(
            "x_t = mean + self.posterior_variance[max(step, 1)].sqrt() * z"
        ),
    },
    "timesteps inputs": {
        "at most 16": steps("for step in range(min(self.config.timesteps, 16) - 1, -1, -1):"),
    },
    "step": {
        "clamped where x0 is clipped": step(
            STEP + "\n    x_t = x_t.clamp(-1, 1) if self.config.clip_x0 else x_t"
        ),
        "the variance for the deviation": step("x_t = mean + variance * z"),
        "beta": step("x_t = mean + (self.betas[step].sqrt() if step else 0) * z"),
        "twice the noise": step("x_t = mean + 2 * variance.sqrt() * z"),
        "the log-variance": step("x_t = mean + (0.5 * variance).exp() * z * (step > 0)"),
        "sigma of 1": step("x_t = mean + (step > 0) * z"),
        "the mean of DDPM's other choice": step(
            "x_t = mean + ((variance + self.betas[step]) / 2 * (step > 0)).sqrt() * z"
        ),
        "clipped to small noise": step("x_t = mean + variance.sqrt().clamp(max=0.1) * z"),
        "eta of 0.5": step("x_t = mean + 0.5 * variance.sqrt() * z"),
    },
    "step noise": {
        "no noise": step("x_t = mean"),
        "no noise where there is a condition": step("x_t = mean + variance.sqrt() * z * (cond is None)"),
        "deviation of the step before": step(
            "x_t = mean + self.posterior_variance[max(step - 1, 0)].sqrt() * z"
        ),
        "not fed back": loop(
            "self.p_mean_variance(x_t, t, cond)",
            "self.p_mean_variance(start, t, cond)",
            FOR,
            "start = x_t\n" + FOR,
        ),
        "no noise below t = 5": step("x_t = mean + variance.sqrt() * z * (step >= 5)"),
        "drawn once": noise("pass", FOR, NOISE + "\n" + FOR),
        "the start again": noise("pass", FOR, "z = x_t.clone()\n" + FOR),
        "seeded in each step": noise("torch.manual_seed(0)\n    z = torch.randn_like(x_t)"),
        "the generator's seed in each step": noise(
            "z = torch.randn(x_t.shape, generator=generator and "
            "torch.Generator().manual_seed(generator.initial_seed()))"
        ),
        "the generator set back": noise(
            NOISE + "\n    if generator is not None:\n        generator.manual_seed(generator.initial_seed())"
        ),
        "kept for two steps": noise(
            "z = z if step % 2 else randn_like(x_t, generator)", FOR, NOISE + "\n" + FOR
        ),
    },
    "step noise last_step": {
        "x0_pred": step("x_t = x0_pred + variance.sqrt() * z"),
        "minus the mean": step("x_t = -mean + variance.sqrt() * z"),
        "noise alone": step("x_t = variance.sqrt() * z"),
        "clamped": step("x_t = (mean + variance.sqrt() * z).clamp(-1, 1)"),
        "of x_t": step("x_t = x_t + variance.sqrt() * z"),
    },
    "noise": {
        "the generator ignored where there is a condition": noise(
            "z = randn_like(x_t, generator if cond is None else None)"
        ),
        "the generator ignored in evaluation": noise(
            "z = randn_like(x_t, generator if self.training else None)"
        ),
        "from the generator's first seed": noise(
            "z = randn_like(x_t, generator and "
            "torch.Generator().manual_seed(generator.initial_seed() + step))"
        ),
        "mirrored halves": noise(NOISE + "\n    half = len(z) // 2\n    z[len(z) - half :] = -z[:half]"),
        "the generator ignored": noise("z = torch.randn_like(x_t)"),
        "one for all rows": noise("z = randn_like(x_t[:1], generator).expand_as(x_t)"),
        "one for all channels": noise("z = randn_like(x_t[:, :1], generator).expand_as(x_t)"),
        "a generator of its own": noise(
            "z = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(step))"
        ),
        "the global generator seeded": "torch.manual_seed(0)\n" + noise("z = torch.randn_like(x_t)"),
        "the generator only once": noise(
            "z = randn_like(x_t, generator if step == self.config.timesteps - 1 else None)"
        ),
        "uniform": noise("z = (torch.rand(x_t.shape, generator=generator) - 0.5) * 12**0.5"),
        "signs": noise("z = randn_like(x_t, generator).sign()"),
        "cut off": noise("z = randn_like(x_t, generator).clamp(-1.5, 1.5) / 0.88"),
        "mirrored rows": noise(NOISE + "\n    z[1::2] = -z[: len(z) // 2 * 2 : 2]"),
        "kept by the sampler": noise(
            "z = self.__dict__.setdefault('kept', {}).setdefault(step, randn_like(x_t, generator))"
        ),
    },
    "last_step": {
        "noise at the end": step("x_t = mean + variance.sqrt().clamp(min=0.05) * z"),
        "a little noise at the end": step("x_t = mean + (variance + 1e-4 * (step == 0)).sqrt() * z"),
        "beta at the end": step("x_t = mean + (variance if step else self.betas[0]).sqrt() * z"),
        "noise after the end": returned("\nreturn x_t + 0.1 * randn_like(x_t, generator)"),
        "the result clamped": returned("\nreturn x_t.clamp(-1, 1)"),
        "the result scaled": returned("\nreturn (x_t + 1) / 2"),
        "x_t before it": step("x_t = " + STEP[6:] + " if step else x_t"),
        "the mean halved at the end": step(STEP + "\n    if step == 0:\n        x_t = x_t / 2"),
        "the mean of the rows": returned("\nreturn x_t - x_t.mean(0, keepdim=True)"),
        "the noise alone at the end": step(STEP + "\n    if step == 0:\n        x_t = z"),
        "another noise at the end": step(
            STEP + "\n    if step == 0:\n        x_t = mean + self.betas[0] * z"
        ),
    },
    "inputs": {
        "the condition in training alone": mean(MEAN.replace("cond", "cond if self.training else None")),
        "cond zeroed": returned("\nif cond is not None:\n    cond.zero_()\nreturn x_t"),
        "no condition": mean("mean, variance, x0_pred = self.p_mean_variance(x_t, t)"),
        "the condition in the first step alone": mean(MEAN + "\n    cond = None"),
        "the condition in the last step alone": mean(
            "mean, variance, x0_pred = self.p_mean_variance(x_t, t, cond if step == 0 else None)"
        ),
        "the condition of the next row": mean(
            MEAN.replace("cond", "None if cond is None else cond.roll(1, 0)")
        ),
        "the condition's mean": mean(
            MEAN.replace("cond", "None if cond is None else cond.mean(0).expand_as(cond)")
        ),
        "the condition of the first row": mean(
            MEAN.replace("cond", "None if cond is None else cond[:1].expand_as(cond)")
        ),
        "zeros for no condition": mean(
            MEAN.replace("cond", "torch.zeros(batch_size, 4) if cond is None else cond")
        ),
        "the condition by its truth": mean(
            MEAN.replace("cond", "cond if cond is not None and cond.sum() > 0 else None")
        ),
        "the condition dropped under clipping": mean(
            MEAN.replace("cond", "None if self.config.clip_x0 else cond")
        ),
        "the condition scaled": mean(MEAN.replace("cond", "None if cond is None else 2 * cond")),
        "the condition dropped at T = 1000": mean(
            MEAN.replace("cond", "None if self.config.timesteps == 1000 else cond")
        ),
        "every second step without": mean(MEAN.replace("cond", "cond if step % 2 else None")),
        "the condition normalized": mean(
            MEAN.replace("cond", "cond if cond is None else cond / cond.norm()")
        ),
    },
}
