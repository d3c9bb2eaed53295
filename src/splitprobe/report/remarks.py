"""Running text of Tables II to VI: captions, what the paper's numbers rest on, units, what was tuned on what."""

from collections.abc import Mapping, Sequence
from typing import Any

from splitprobe.report import scores
from splitprobe.report.markdown import NONE
from splitprobe.report.results import Results, data, distinct, labels, origin, reference
from splitprobe.report.scores import variant_title, variants


def _common(records: Sequence[Mapping[str, Any]], key: str) -> str:
    """The records' values of a key, for a sentence; records without it do not count."""
    return distinct(record[key] for record in records if record.get(key) is not None)


def _decoders(results: Sequence[Results]) -> list[Mapping]:
    return [decoder for r in results for decoder in scores.decoders(r).values()]


def _attacks(results: Sequence[Results], name: str) -> list[Mapping]:
    """One MLE variant's records in all cells that ran it, seed by seed: each seed chooses its own settings."""
    runs = [run["mle"]["variants"] for r in results for run in r.seeds]
    return [variants[name] for variants in runs if name in variants]


def caption(scale: str, results: Sequence[Results]) -> list[str]:
    """What was measured on what, for above the blocks."""
    training = [r["target"]["training"] for r in results]
    generator, mle = (_common([r[stage] for r in results], "images") for stage in ("generator", "mle"))
    steps = [f"{_common(_attacks(results, name), 'steps')} ({variant_title(name)})" for name in variants(results)]
    return [
        f"**Scale {scale}: {data(results)}.** "
        f"Attacked: the first {generator} test images by the generator, the first {mle} by MLE. "
        f"Targets: {_common(training, 'epochs')} epochs (schedule: {_common(training, 'schedule')}); "
        f"decoders: {_common(_decoders(results), 'epochs')} epochs; "
        f"MLE steps: {', '.join(steps)}. {origin(results)}."
    ]


def warning(results: Sequence[Results], basis: str, quirks: str, mle: bool) -> list[str]:
    """Why the two numbers of a cell are not two measurements of one thing.

    ``basis``: what the paper measured on; ``quirks``: a sentence on printed numbers that cannot be right; ``mle``:
    whether the table has this attack.
    """
    moved = (
        "MLE is the variant with the paper's settings; the paper's own values near 6 to 7 dB lie below every floor: an "
        "optimization that did not move, not privacy. "
    )
    sets = [r["target"]["dataset"] for r in results]
    return [
        f"Each cell: ours (the paper's; {NONE}: not printed there). **Data and scale differ**: the paper has {basis}, "
        f"this table {_common(sets, 'title')} at side {_common(sets, 'side')} with {_common(sets, 'train')} training "
        "images. Compare the order of the rows, not the digits.",
        "",
        "Both numbers follow the paper's conventions: SSIM takes the batch as a third spatial axis, which puts blurred "
        "images far higher (and flat ones lower) than SSIM image by image; MSE is summed over the color channels "
        f"({_summed(sets)}); PSNR is a mean over batches. " + (moved if mle else "") + quirks,
        "",
    ]


def _summed(sets: Sequence[Mapping]) -> str:
    """What summing over channels does to the MSE of these data."""
    channels = {data["channels"] for data in sets}
    gray = "nothing changes for one channel"
    return {(3,): "3 times the usual for RGB", (1,): gray}.get(tuple(channels), f"3 times the usual for RGB, {gray}")


def remarks(results: Sequence[Results]) -> list[str]:
    """Units, and what was tuned on what with how many trials."""
    decoders = _decoders(results)
    plain = [d for d in decoders if not d["access"].startswith("strong")]
    # deterministic defenses have one draw, so the largest number is the setting
    draws = max(r["target"].get("draws", 1) for r in results)
    drawn = f", averaged over {draws} draws where a defense is random" if draws > 1 else ""
    return [
        f"Accuracy: test images, in percent{drawn}, at the epoch of the best validation accuracy. "
        "Change: points against the unprotected row of the same data and network.",
        "PSNR (peak 1) and SSIM: of each image, then averaged. MSE: per element, images in [0, 1]. "
        "High PSNR and SSIM and low MSE mean that much of the image was recovered.",
        "Floors: what a constant gray, the mean auxiliary image and the image's own mean color score on the same "
        "images. The last one looks at the image: a landmark, not an attack.",
        f"Generator: a decoder fitted to what the edge sends of {_common(plain, 'fit_images')} auxiliary images; "
        f"its epoch is chosen on {_common(plain, 'holdout_images')} more of them, never on test images; "
        f"learning rate {_common(plain, 'lr')}{_drawn(plain)}. Black-box: the decoder that mirrors the plain "
        "network; gray-box: the one that mirrors the defended edge, where a defense changes it.",
        *_repeated(decoders),
        "MLE is white-box: it optimizes the pixels through the edge itself until the feature fits.",
        "Strongest: the highest PSNR among a row's decoders and MLE variants, of several seeds the mean of each one's "
        "own. Gain: how far that is above the mean auxiliary image on the same images.",
        *_strong(decoders, results),
        untuned(results),
        *(_mle(name, _attacks(results, name)) for name in variants(results)),
        *(_mine(name, [r["information"]["mine"][name] for r in results]) for name in ("calibrated", "paper")),
        *_measures([r["information"] for r in results]),
    ]


def _strong(decoders: Sequence[Mapping], results: Sequence[Results]) -> list[str]:
    """The attacks that are not the paper's, where they ran."""
    strong = [d for d in decoders if d["access"].startswith("strong")]
    hybrid = _attacks(results, "hybrid")
    lines = []
    if strong:
        lines.append(
            f"Strong black-box: a residual decoder of {_common(strong, 'parameters')} parameters on the standardized "
            f"feature, the same for every row, {_common(strong, 'epochs')} epochs at learning rate "
            f"{_common(strong, 'lr')}."
        )
    if hybrid:
        lines.append(
            "Hybrid: MLE that starts from the strong decoder's image; each image keeps its best iterate, and the start "
            "where no trial brought auxiliary images nearer."
        )
    return lines


def _drawn(decoders: Sequence[Mapping]) -> str:
    """Over how many releases of each test image decoders are scored, where releases are random."""
    draws = _common([d for d in decoders if d["draws"] > 1], "draws")
    return f"; where a defense is random, scores are means over {draws} releases of each image" if draws else ""


def privacy(results: Sequence[Results]) -> list[str]:
    """What differentially private training spent, a paragraph for each cell that did; a budget is not for z."""
    names, lines = labels(results), []
    for r in results:
        facts = r["target"]["facts"]
        if facts.get("epsilon") is not None:
            text = "{}: training spent epsilon = {epsilon:.3g} at delta = {delta:g} (noise multiplier "
            text += "{noise_multiplier:g}, clipping norm {clipping_norm:g}); it protects members of the training set, "
            lines += [text.format(names[r.cell], **facts) + "not the images sent.", ""]
    return lines


def _repeated(decoders: Sequence[Mapping]) -> list[str]:
    """What the attacker with several queries does, where one ran."""
    asked = [decoder for decoder in decoders if decoder["queries"] > 1]
    if not asked:
        return []
    return [
        f"{' / '.join(dict.fromkeys(d['access'].capitalize() for d in asked))}: a decoder fitted on, and given, "
        f"{_common(asked, 'queries')} releases of the same image as one, where a defense is random: what is drawn anew "
        "at each release averages out; of dropout's masks, all that any of them kept."
    ]


def untuned(results: Sequence[Results]) -> str:
    """What the defenses have in common, and whose batches have another size than the unprotected row's."""
    names, other = labels(results), []
    for r in results:
        base, own = reference(results, r), r["target"]["training"]["batch_size"]
        if base is not None and own != base["target"]["training"]["batch_size"]:
            drawn = ", drawn by Poisson sampling" if r["target"]["facts"].get("epsilon") is not None else ""
            usual = base["target"]["training"]["batch_size"]
            other.append(f" {names[r.cell]} has batches of {own:,} images{drawn}, not {usual:,}.")
    return (
        "No defense was tuned: each runs at the value its own paper or the paper's code gives, or at the fixed default "
        "in params.yaml; all are trained with the same epochs, optimizer, learning rate and data." + "".join(other)
    )


def _mle(name: str, attacks: Sequence[Mapping]) -> str:
    """A variant's settings and how they were chosen."""
    settings = f"learning rate {_common(attacks, 'lr')}, weight of total variation {_common(attacks, 'tv')}"
    if not _common(attacks, "trials"):
        return f"MLE ({variant_title(name)}): {settings}, the same for every row."
    trials, images, steps = (_common(attacks, key) for key in ("trials", "trial_images", "trial_steps"))
    asked = _common([attack for attack in attacks if attack.get("queries", 1) > 1], "queries")
    return (
        f"MLE ({variant_title(name)}): {settings}; chosen for each row and seed in {trials} trials of {steps} steps on "
        f"{images} auxiliary images"
        + (f"; where a defense is random, it has {asked} releases of each image." if asked else ".")
    )


def _measures(found: Sequence[Mapping]) -> list[str]:
    """What the measures beside MINE are, where they were taken."""
    infonce, decoder = ([r["mine"][name] for r in found if name in r["mine"]] for name in ("infonce", "decoder"))
    entropy, dependence = ([r[name] for r in found if name in r] for name in ("entropy", "dependence"))
    lines = []
    if infonce:
        lines.append(
            f"MI (InfoNCE): a lower bound by the calibrated critic, on {_common(infonce, 'held_out_images')} images."
        )
    if decoder:
        lines.append(
            f"MI (decoder's): what the strong decoder's error proves about {_common(decoder, 'components')} principal "
            "components of the image, if these are Gaussian; otherwise an estimate."
        )
    if entropy:
        lines.append(
            f"Coded size: of z at {_common(entropy, 'levels')} levels per entry, by a static code with a histogram for "
            f"each channel, fitted on {_common(entropy, 'fit_images')} training images; what must be sent, and a bound "
            "from above on what quantized z can say."
        )
    if dependence:
        lines.append(
            "Dependence: bias-corrected squared distance correlation of x and z on "
            f"{_common(dependence, 'images')} images."
        )
    return lines


def _mine(name: str, estimates: Sequence[Mapping]) -> str:
    """An estimator's budget, and the most it can say."""
    # the cap depends on the batch size alone, so rows agree in it up to the last digits
    caps = dict.fromkeys(round(e["cap_nats"], 4) for e in estimates if e["cap_nats"] is not None)
    why = _common(estimates, "cap_nats_reason") or "no reason was recorded"
    cap = f"it cannot exceed {distinct(caps)} nats" if caps else f"no cap is stated: {why}"
    epochs, fitted, batch, held = (
        _common(estimates, key) for key in ("epochs", "fit_images", "batch_size", "held_out_images")
    )
    label = "paper's estimator" if name == "paper" else name
    return (
        f"MI ({label}): fitted for {epochs} epochs on {fitted} images in batches of {batch}, measured on {held} "
        f"others; {cap}. Of a single run: mean ± standard deviation over its last epochs."
    )
