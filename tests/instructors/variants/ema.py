"""Variants of the moving average of the weights."""

from functools import partial

from tests.instructors.variants import edit

UPDATE = """
n = self.updates
d = min(self.decay, (1 + n) / (10 + n))
self.updates = n + 1
new = model.state_dict()
for name, value in self.model.state_dict().items():
    if value.dtype.is_floating_point:
        value.mul_(d).add_((1 - d) * new[name])
    else:
        value.copy_(new[name])
"""
DECAY = "d = min(self.decay, (1 + n) / (10 + n))"
COUNT = "self.updates = n + 1"
AVERAGE = "value.mul_(d).add_((1 - d) * new[name])"
COPY = "value.copy_(new[name])"
FLOAT = "value.dtype.is_floating_point"
LOOP = "for name, value in self.model.state_dict().items():"

decay = partial(edit, UPDATE, DECAY)
count = partial(edit, UPDATE, COUNT)
average = partial(edit, UPDATE, AVERAGE)
copy_ = partial(edit, UPDATE, COPY)
float_ = partial(edit, UPDATE, FLOAT)
loop = partial(edit, UPDATE, LOOP)

RIGHT = {
    "step by step": UPDATE,
    "parameters and buffers": """
        d = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for mine, theirs in zip(self.model.parameters(), model.parameters()):
            mine.copy_(d * mine + (1 - d) * theirs)
        for mine, theirs in zip(self.model.buffers(), model.buffers()):
            if torch.is_floating_point(mine):
                mine.lerp_(theirs, 1 - d)
            else:
                mine.copy_(theirs)
        self.updates += 1
        """,
    "lerp": average("value.lerp_(new[name], 1 - d)"),
    "the difference": average("value -= (1 - d) * (value - new[name])"),
    "load_state_dict": """
        d = min(self.decay, (self.updates + 1) / (self.updates + 10))
        self.updates += 1
        mine, theirs = self.model.state_dict(), model.state_dict()
        for k, v in mine.items():
            if v.is_floating_point():
                theirs[k] = d * v + (1 - d) * theirs[k]
        self.model.load_state_dict(theirs)
        """,
    "in float64": average("value.copy_((d * value.double() + (1 - d) * new[name].double()).to(value.dtype))"),
    "counted first": """
        self.updates += 1
        d = min(self.decay, self.updates / (9 + self.updates))
        theirs = dict(model.named_parameters()) | dict(model.named_buffers())
        for name, value in [*self.model.named_parameters(), *self.model.named_buffers()]:
            if value.is_floating_point():
                value.copy_(torch.lerp(theirs[name], value, d))
            else:
                value.copy_(theirs[name])
        """,
}

WRONG = {
    "average warm_up": {
        "the shares swapped": average("value.mul_(1 - d).add_(d * new[name])"),
        "a copy": average("value.copy_(new[name])"),
        "half and half": average("value.add_(new[name]).div_(2)"),
        "a sum": average("value.mul_(d).add_(new[name])"),
        "without the old share": average("value.add_((1 - d) * new[name])"),
        "d squared": average("value.mul_(d**2).add_((1 - d**2) * new[name])"),
        "the sign": average("value.mul_(d).sub_((1 - d) * new[name])"),
        "rounded": average(AVERAGE + "\n        value.copy_(value.bfloat16())"),
        "clamped": average(AVERAGE + ".clamp_(-1, 1)"),
        "the mean of the tensor": average("value.mul_(d).add_((1 - d) * new[name].mean())"),
        "a step of fixed size": average("value.add_(0.001 * (new[name] - value).sign())"),
        "matrices copied": average(
            "value.mul_(d).add_((1 - d) * new[name])\n"
            "        if name in dict(model.named_parameters()) and value.dim() > 1:\n"
            "            value.copy_(new[name])"
        ),
        "the greater": decay("d = max(self.decay, (1 + n) / (10 + n))"),
        "never the full decay": decay("d = (1 + n) / (10 + n)"),
        "with the paper's 100": decay("d = min(self.decay, (1 + n) / (100 + n))"),
        "the product": decay("d = self.decay * (1 + n) / (10 + n)"),
        "of 0.999 always": decay("d = min(0.999, (1 + n) / (10 + n))"),
    },
    "average warm_up model": {
        "no change": average("pass"),
        "weights not": average("'weight' in name or value.mul_(d).add_((1 - d) * new[name])"),
        "not counted": count(""),
    },
    "average warm_up buffers model": {
        "the first tensor alone": average(AVERAGE + "\n        break"),
        "a new model in its place": "import copy\n" + UPDATE + "self.model = copy.deepcopy(self.model)\n",
        "shared tensors": UPDATE + "for mine, theirs in zip(self.model.parameters(), model.parameters()):\n"
        "    theirs.data = mine.data\n",
        "the model itself": "self.model = model\n" + UPDATE,
        "the model's own names": average("value.mul_(d).add_((1 - d) * new[name.upper()])"),
    },
    "average warm_up buffers": {
        "parameters copied": "for mine, theirs in zip(self.model.parameters(), model.parameters()):\n"
        "    mine.copy_(theirs)\n" + UPDATE,
        "parameters twice": UPDATE + "for mine, theirs in zip(self.model.parameters(), model.parameters()):\n"
        "    mine.lerp_(theirs, 1 - d)\n",
    },
    "average": {
        "numbers without dimensions left out": average(
            "if value.dim():\n            value.mul_(d).add_((1 - d) * new[name])"
        ),
    },
    "average buffers": {
        "matrices alone": average(
            "value.copy_(new[name]) if value.dim() < 2 and 'running' "
            "not in name else value.mul_(d).add_((1 - d) * new[name])"
        ),
        "biases not": average("'bias' in name or value.mul_(d).add_((1 - d) * new[name])"),
        "one parameter left out": average(
            "name == [*dict(model.named_parameters())][-1] or value.mul_(d).add_((1 - d) * new[name])"
        ),
        "the first row of each": average(
            "if value.dim() and 'running' not in name:\n"
            "            value, new[name] = value[:1], new[name][:1]\n"
            "        value.lerp_(new[name], 1 - d)"
        ),
    },
    "warm_up": {
        "a step behind": decay("d = min(self.decay, n / (9 + n))"),
        "a copy at first": decay("d = self.decay if n else 0.0"),
        "1 over n": decay("d = min(self.decay, n / (1 + n))"),
        "linear": decay("d = self.decay * min(1.0, (n + 1) / 10)"),
        "bias correction": decay("d = self.decay * (1 - self.decay**n) / (1 - self.decay ** (n + 1))"),
        "none": decay("d = self.decay"),
        "a step ahead": decay("d = min(self.decay, (2 + n) / (11 + n))"),
        "for ten updates": decay("d = min(self.decay, (1 + n) / (10 + n)) if n < 10 else self.decay"),
    },
    "warm_up model": {
        "counted by 2": count("self.updates = n + 2"),
        "counted by the class": count("self.updates = n + 1").replace(
            "n = self.updates", "n = globals().setdefault('COUNT', [0])[0]\nglobals()['COUNT'][0] += 1"
        ),
    },
    "buffers": {
        "int64 alone copied": copy_("if value.dtype == torch.int64:\n            value.copy_(new[name])"),
        "bool left out": copy_("if value.dtype != torch.bool:\n            value.copy_(new[name])"),
        "buffers left out": loop(
            "new = dict(model.named_parameters())\nfor name, value in self.model.named_parameters():"
        ),
        "floating-point buffers copied": float_("name in dict(model.named_parameters())"),
        "whole numbers left out": copy_("pass"),
        "whole numbers averaged": copy_("value.copy_((d * value + (1 - d) * new[name]).long())"),
        "whole numbers counted": copy_("value.copy_(new[name]) if value.dim() else value.add_(1)"),
        "whole numbers at 0": copy_("value.zero_()"),
        "running means copied": average(
            "value.copy_(new[name]) if 'running_mean' in name else value.mul_(d).add_((1 - d) * new[name])"
        ),
        "running variances left out": average(
            "'running_var' in name or value.mul_(d).add_((1 - d) * new[name])"
        ),
        "buffers averaged by the full decay": average(
            "rest = 1 - (self.decay if 'running' in name else d)\n        value.lerp_(new[name], rest)"
        ),
        "buffers averaged twice": UPDATE + "for mine, theirs in zip(self.model.buffers(), model.buffers()):\n"
        "    if mine.is_floating_point():\n        mine.lerp_(theirs, 1 - d)\n",
        "the largest number": copy_("value.copy_(torch.maximum(value, new[name]) + 1)"),
        "float64 left out": float_(
            "value.dtype == torch.float32 or value.dtype == torch.float64 and value.zero_() is None"
        ),
        "whole numbers copied once": copy_("value.copy_(new[name] if n == 0 else value)"),
        "the model's buffers shared": copy_(
            "owner, _, key = name.rpartition('.')\n"
            "        self.model.get_submodule(owner)._buffers[key] = model.get_submodule(owner)._buffers[key]"
        ),
    },
    "buffers model": {
        "roots of variances": average(
            "if 'running_var' in name:\n            value.sqrt_().lerp_(new[name].sqrt(), 1 - d).square_()\n"
            "        else:\n            value.mul_(d).add_((1 - d) * new[name])"
        ),
    },
    "model": {
        "new tensors": UPDATE + "for p in self.model.parameters():\n    p.data = p.data.clone()\n",
        "new tensors for parameters": """
            d = min(self.decay, (1 + self.updates) / (10 + self.updates))
            for mine, theirs in zip(self.model.parameters(), model.parameters()):
                mine.data = d * mine.data + (1 - d) * theirs.data
            for mine, theirs in zip(self.model.buffers(), model.buffers()):
                if torch.is_floating_point(mine):
                    mine.lerp_(theirs, 1 - d)
                else:
                    mine.copy_(theirs)
            self.updates += 1
            """,
        "the model gets the average": UPDATE + "model.load_state_dict(self.model.state_dict())\n",
        "the model set to evaluation": "model.eval()\n" + UPDATE,
        "the model frozen": "model.requires_grad_(False)\n" + UPDATE,
        "the model's gradients cleared": "model.zero_grad()\n" + UPDATE,
        "the model changed on the way": average("value.mul_(d).add_(new[name].mul_(1 - d))"),
        "the model moved towards the average": average(AVERAGE + "\n        new[name].lerp_(value, 0.1)"),
        "the model's counters set back": copy_(COPY + "\n        new[name].zero_()"),
        "training switched on": "model.train()\n" + UPDATE,
        "the average in training": UPDATE + "self.model.train()\n",
        "the average asks for gradients": UPDATE + "self.model.requires_grad_(True)\n",
    },
}
