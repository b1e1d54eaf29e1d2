"""The exercises: what a student may be asked to write, in parts that earn points."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A thing that the task asks.

    Args:
        name: of the function in `parts/` that checks it.
        title: in the words of the task.
        weight: relative to all parts that are graded.
        needs: exercises on which the result depends as well, should they be open.
    """

    name: str
    title: str
    weight: int
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exercise:
    """A block of code that a student writes.

    Args:
        name: of the block, and of the module in `parts/` with its checks.
        title: for people.
        file: the block's.
        function: that the block is in.
        equations: what it has to do, by number and paper.
        used: what in the homework uses it, a sentence.
        parts: what the task asks.
        together: exercises that are opened along with it.
    """

    name: str
    title: str
    file: str
    function: str
    equations: str
    used: str
    parts: tuple[Part, ...]
    together: tuple[str, ...] = ()

    @property
    def weight(self) -> int:
        return sum(part.weight for part in self.parts)


EXERCISES = {
    exercise.name: exercise
    for exercise in (
        Exercise(
            "ddim_step",
            "The DDIM update",
            "HW3/diffusion.py",
            "GaussianDiffusion.ddim_step",
            "Eq. (12) and (16) of the DDIM paper",
            "Stages 2, 3 and 5 draw with it; read `q_sample` and `p_mean_variance` above it first.",
            (
                Part("direction", "without noise (eta = 0): x0_pred and the direction pointing to x_t", 3),
                Part("sigma", "the deviation sigma_t, and what it leaves for the direction", 3),
                Part("noise", "the noise is N(0, I), fresh, independent, and from `generator`", 3),
                Part("last_step", "the last step, t_prev = -1, lands on x0_pred", 2),
                Part("clipping", "where the config clips x0_pred, eps_pred is made to agree with it", 2),
                Part("rounding", "what rounding takes below 0 under a root counts as 0", 1),
                Part("whole_runs", "whole runs of sample_ddim; the arguments are left as they are", 2),
            ),
        ),
        Exercise(
            "condition",
            "The conditional path of the noise predictor",
            "HW3/Unet.py",
            "Embedding.forward",
            "section 3.2 of the guidance paper, with zeros as its null token",
            "Stage 5 needs it.",
            (
                Part("added", "the sum of the embeddings of time and condition", 3),
                Part("none", "no condition is a condition of zeros", 2),
                Part("shape", "another shape than (B, cond_dim) is a ValueError", 2),
                Part("scaling", "unit vectors are scaled, all by one factor, to components of about 1", 2),
                Part("rows", "each row has its own condition", 2),
                Part("gradients", "gradients reach the condition and both networks", 1),
            ),
        ),
        Exercise(
            "q_sample",
            "The forward process",
            "HW3/diffusion.py",
            "GaussianDiffusion.q_sample",
            "Eq. (4) of DDPM",
            "Stages 2, 3 and 5 train with it.",
            (
                Part("equation", "x_t for given noise, each row at its own t", 3),
                Part("noise", "noise that is not given is N(0, I), fresh for each row and call", 2),
                Part("any_shape", "any schedule, any shape (B, ...) of the data", 1),
                Part("arguments", "the arguments are left as they are, and gradients reach them", 1),
            ),
        ),
        Exercise(
            "training_loss",
            "The training loss",
            "HW3/diffusion.py",
            "GaussianDiffusion.training_loss",
            "Eq. (14) of DDPM",
            "Stages 2, 3 and 5 train with it.",
            (
                Part("error", "the mean squared error of the predicted noise", 3),
                Part("inputs", "the model gets x_t with that noise, t, and the condition if there is one", 3),
                Part("timesteps", "t is uniform in 0..T-1, each row has its own", 2),
                Part("noise", "noise that is not given is N(0, I), fresh for each row and call", 2),
                Part("gradients", "gradients reach the model", 1),
            ),
        ),
        Exercise(
            "posterior",
            "Mean and variance of the reverse process",
            "HW3/diffusion.py",
            "GaussianDiffusion.p_mean_variance",
            "Eq. (7) of DDPM",
            "Stages 2, 3 and 5 draw with it.",
            (
                Part("mean", "the mean", 3),
                Part("variance", "the variance, 0 at t = 0", 3),
                Part("x0", "x0_pred is returned, and where the config clips it, the mean follows", 2),
                Part("inputs", "the model gets x_t, t, and the condition if there is one, once", 1),
                Part("any_shape", "any schedule, any shape (B, ...) of the data, each row at its own t", 1),
            ),
        ),
        Exercise(
            "sample_ddpm",
            "The loop of DDPM",
            "HW3/diffusion.py",
            "GaussianDiffusion.sample_ddpm",
            "Algorithm 2 of DDPM",
            "Stages 2, 3 and 5 draw with it.",
            (
                Part("timesteps", "all T steps, from T - 1 down to 0, the same for all rows", 2),
                Part("step", "a step is the mean plus noise of the variance", 3),
                Part("noise", "the noise is N(0, I), fresh, independent, and from `generator`", 3),
                Part("last_step", "the last step adds no noise", 1),
                Part("inputs", "the condition is used in each step; the arguments are left as they are", 1),
            ),
        ),
        Exercise(
            "reparameterize",
            "The reparameterization trick",
            "HW3/vae.py",
            "ConvVAE.reparameterize",
            "section 2.4 of Kingma and Welling",
            "Stage 1 trains with it.",
            (
                Part("distribution", "z has the mean mu and the variance exp(logvar)", 3),
                Part("noise", "the noise is N(0, I), fresh for each row, dimension and call", 2),
                Part("gradients", "z is differentiable with respect to mu and logvar", 3),
                Part("modes", "z is drawn in evaluation mode, too", 1),
            ),
        ),
        Exercise(
            "kl_divergence",
            "The KL divergence",
            "HW3/vae.py",
            "kl_divergence",
            "appendix B of Kingma and Welling",
            "Stage 1 trains with it.",
            (
                Part("value", "the divergence of each dimension, not summed", 3),
                Part("gradients", "gradients reach mu and logvar", 1),
            ),
        ),
        Exercise(
            "vae_loss",
            "The loss of the VAE",
            "HW3/vae.py",
            "vae_loss",
            "Eq. (10) of Kingma and Welling",
            "Stage 1 trains with it.",
            (
                Part("mse", "the reconstruction term `mse`, the default, is a sum of squares", 2),
                Part("bce", "the reconstruction term `bce` is the cross-entropy, summed", 2),
                Part("kl", "kl is summed over dimensions and batch", 2, needs=("kl_divergence",)),
                Part("total", "total weighs kl by kl_weight, 1 by default", 2),
                Part("loss_type", "another loss_type is a ValueError", 1),
                Part("gradients", "gradients reach recon, mu and logvar", 1, needs=("kl_divergence",)),
            ),
            together=("kl_divergence",),
        ),
        Exercise(
            "clip_logits",
            "The logits of CLIP",
            "HW3/clip.py",
            "TinyCLIP.compute_logits",
            "figure 3 and section 2.5 of CLIP",
            "Stage 4 trains with it.",
            (
                Part("similarity", "logits are similarities times exp(logit_scale)", 3),
                Part("limit", "the factor is at most 100", 2),
                Part("gradients", "gradients reach logit_scale and both sets of vectors", 2),
            ),
        ),
        Exercise(
            "clip_loss",
            "The contrastive loss of CLIP",
            "HW3/clip.py",
            "clip_loss",
            "figure 3 of CLIP, with the positives of Eq. (2) of Khosla et al.",
            "Stage 4 trains with it.",
            (
                Part("once", "a batch with each label once: the loss of figure 3", 3),
                Part("repeated", "where labels repeat, all images of a label are its positives", 3),
                Part("absent", "labels that are not in the batch do not count as rows of the loss", 2),
                Part("gradients", "gradients reach the logits", 1),
            ),
        ),
        Exercise(
            "guidance",
            "Classifier-free guidance",
            "HW3/guidance.py",
            "GuidedModel.forward",
            "Eq. (6) of Ho and Salimans, with guidance_scale = w + 1",
            "Stage 5 draws with it.",
            (
                Part("combination", "the predictions with and without condition, combined", 3),
                Part("zeros", "no condition is a condition of zeros", 2),
                Part("scales", "1 is the conditional prediction, 0 the unconditional one", 2),
                Part("rows", "each row keeps its own x_t, t and condition; any number of rows", 1),
                Part("arguments", "the arguments are left as they are, and gradients reach them", 1),
            ),
        ),
        Exercise(
            "ema",
            "The moving average of the weights",
            "HW3/ema.py",
            "EMA.update",
            "Polyak and Juditsky 1992, with a decay that warms up",
            "All stages save and use the average.",
            (
                Part("average", "weights move towards the model's by 1 - decay", 3),
                Part("warm_up", "the decay is smaller in the first updates", 2),
                Part("buffers", "floating-point buffers are averaged, others are copied", 2),
                Part("model", "the trained model is left as it is, the average shares nothing with it", 1),
            ),
        ),
        Exercise(
            "canonicalize_latent",
            "The sign of a latent",
            "HW3/vae.py",
            "ConvVAE.canonicalize_latent",
            "-z where the mean of decode(z) is above the threshold, otherwise z",
            "Stage 3 has an option that uses it.",
            (
                Part("flip", "the sign is flipped where the mean of the decoded image is too bright", 3),
                Part("threshold", "flipped is what lies above the threshold, 0.5 by default", 2),
                Part("rows", "each latent by its own image; (B, D) or (B, D, 1, 1)", 2),
                Part("arguments", "the argument and the model's mode are left as they are", 1),
            ),
        ),
    )
}
