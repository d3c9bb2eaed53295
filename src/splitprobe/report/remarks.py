"""Running text of Tables II to VI: captions, what the paper's numbers rest on, units, what was tuned on what."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import Formatter

from splitprobe.report import attacks
from splitprobe.report.attacks import ESTIMATES, variant_title, variants
from splitprobe.report.frame import NO_REASON
from splitprobe.report.markdown import NONE, data, distinct, labels, named, origin, words
from splitprobe.report.numbers import Numbers


@dataclass(frozen=True)
class Common:
    """What all cells and seeds have of some items: a text for each quantity, without those that are absent."""

    numbers: Numbers
    items: Sequence[str]

    def __getitem__(self, quantity: str) -> str:
        return distinct(self._known(quantity))

    def fill(self, text: str) -> str:
        """A text with quantities in place of their names in braces; empty where nothing is known of one."""
        own = {name: self[name] for _, name, *_ in Formatter().parse(text) if name}
        return text.format(**own) if all(own.values()) else ""

    def above_one(self, quantity: str) -> str:
        """The same of those values alone that are above 1."""
        return distinct(value for value in self._known(quantity) if value > 1)

    def _known(self, quantity: str) -> list[float | str]:
        known = (value for item, value in self.numbers.shown(quantity) if item in self.items)
        return [value for value in known if value != ""]


def _decoders(numbers: Numbers) -> list[str]:
    return list(dict.fromkeys(item for cell in numbers.cells for item in attacks.decoders(numbers, cell)))


def caption(scale: str, numbers: Numbers) -> list[str]:
    """What was measured on what, for above the blocks."""
    generator, mle = (Common(numbers, [stage])["images"] for stage in attacks.STAGES)
    common = {variant_title(item): Common(numbers, [item]) for item in variants(numbers)}
    most = {title: own["most_steps"] for title, own in common.items()}
    steps = [f"{f'at most {most[name]}' if most[name] else own['steps']} ({name})" for name, own in common.items()]
    trained = "{epochs} epochs (schedule: {schedule})".format_map(Common(numbers, ["training"]))
    return [
        f"**Scale {scale}: {words(data(numbers))}.** "
        f"Attacked: the first {generator} test images by the generator, the first {mle} by MLE. "
        f"Targets: {trained}; decoders: {Common(numbers, _decoders(numbers))['epochs']} epochs; "
        f"MLE steps: {', '.join(steps)}. {origin(numbers)}."
    ]


def warning(numbers: Numbers, basis: str, quirks: str, mle: bool) -> list[str]:
    """Why the two numbers of a cell are not two measurements of one thing.

    ``basis``: what the paper measured on; ``quirks``: a sentence on printed numbers that cannot be right; ``mle``:
    whether the table has this attack.
    """
    moved = (
        "The paper tuned its MLE without saying how, so that its numbers stand beside both of ours, the one with its "
        "code's settings and the tuned one; its values near 6 to 7 dB lie below every floor: an optimization that did "
        "not move, not privacy. "
    )
    data = words("{title} at side {side} with {train} training images".format_map(Common(numbers, ["dataset"])))
    channels = {numbers.value(cell, "dataset", "channels") for cell in numbers.cells}
    summed = ["3 times the usual for RGB"] * (channels != {1}) + ["nothing changes for one channel"] * (channels != {3})
    return [
        f"Each cell: ours (the paper's; {NONE}: not printed there). **Data and scale differ**: the paper has {basis}, "
        f"this table {data}. Compare the order of the rows, not the digits.",
        "",
        "Both numbers follow the paper's conventions: SSIM takes the batch as a third spatial axis, which puts blurred "
        "images far higher (and flat ones lower) than SSIM image by image; MSE is summed over the color channels "
        f"({', '.join(summed)}); PSNR is a mean over batches. " + (moved if mle else "") + quirks,
        "",
    ]


def remarks(numbers: Numbers) -> list[str]:
    """Units, and what was tuned on what with how many trials."""
    # deterministic defenses have one draw, so the largest number is the setting
    draws = max(numbers.number(cell, "target", "draws", missing=NO_REASON).highest or 1 for cell in numbers.cells)
    drawn = f", averaged over {draws:.0f} draws where a defense is random" if draws > 1 else ""
    lines = [
        f"Accuracy: test images, in percent{drawn}, at the epoch of the best validation accuracy. "
        "Change: points against the unprotected row of the same data and network.",
        "PSNR (peak 1) and SSIM: of each image, then averaged. MSE: per element, images in [0, 1]. "
        "High PSNR and SSIM and low MSE mean that much of the image was recovered.",
        "Floors: what a constant gray, the mean auxiliary image and the image's own mean color score on the same "
        "images. The last one looks at the image: a landmark, not an attack.",
        *_decoded(numbers),
        untuned(numbers),
        _estimators(numbers),
        *(_mle(numbers, item) for item in variants(numbers)),
        *(_mine(numbers, name) for name in ("calibrated", "paper")),
        *(Common(numbers, [item]).fill(text) for item, text in MEASURES.items()),
    ]
    return [line for line in lines if line]


# the measures beside MINE, by item
MEASURES = {
    "mi infonce": "MI (InfoNCE): a lower bound by the calibrated critic, on {held_out_images} images.",
    "mi decoder": "MI (decoder's): what the strong decoder's error proves about {components} principal components of "
    "the image, if these are Gaussian; otherwise an estimate.",
    "entropy": "Coded size: of z at {levels} levels per entry, by a static code with a histogram for each channel, "
    "fitted on {fit_images} training images; what must be sent, and a bound from above on what quantized z can say.",
    "dependence": "Dependence: bias-corrected squared distance correlation of x and z on {images} images.",
}


def _decoded(numbers: Numbers) -> Iterator[str]:
    """The paper's decoders; then those that have several queries, and the attacks that are not the paper's."""
    decoders = _decoders(numbers)
    ours = [item for item in decoders if item.startswith("generator strong")]
    plain, strong = Common(numbers, [item for item in decoders if item not in ours]), Common(numbers, ours)
    draws = plain.above_one("draws")
    drawn = f"; where a defense is random, scores are means over {draws} releases of each image" if draws else ""
    yield (
        f"Generator: a decoder fitted to what the edge sends of {plain['fit_images']} auxiliary images; its epoch is "
        f"chosen on {plain['holdout_images']} more of them, never on test images; learning rate {plain['lr']}{drawn}. "
        "Black-box: the decoder that mirrors the plain network; gray-box: the one that mirrors the defended edge, "
        "where a defense changes it."
    )
    several = [item for item in decoders if Common(numbers, [item]).above_one("queries")]
    if several:
        names = dict.fromkeys(Common(numbers, [item])["access"].capitalize() for item in several)
        yield (
            f"{' / '.join(names)}: a decoder fitted on, and given, {Common(numbers, several)['queries']} releases of "
            "the same image as one, where a defense is random: what is drawn anew at each release averages out; of "
            "dropout's masks, all that any of them kept."
        )
    yield "MLE is white-box: it optimizes the pixels through the edge itself until the feature fits."
    yield (
        "Strongest: the highest PSNR among a row's decoders and MLE variants on the images that MLE is given, of "
        "several seeds the mean of each one's own. Gain: how far that is above the mean auxiliary image on the same "
        "images."
    )
    yield strong.fill(
        "Strong black-box: a residual decoder of {parameters} parameters on the standardized feature, the same for "
        "every row, fitted until its held-out error stops falling, for at most {most_steps} steps, at learning rate "
        "{lr}."
    )
    if "mle hybrid" in variants(numbers):
        yield (
            "Hybrid: MLE that starts from the strong decoder's image, for as many steps as bring auxiliary images "
            "nearest; none where no step does."
        )


def privacy(numbers: Numbers) -> list[str]:
    """What differentially private training spent, a paragraph for each cell that did; a budget is not for z."""
    names, lines = named(labels(numbers)), []
    for cell in numbers.cells:
        if _private(numbers, cell):
            facts = {key: numbers.value(cell, "facts", key) for key in numbers.quantities(cell, "facts")}
            text = "{}: training spent epsilon = {epsilon:.3g} at delta = {delta:g} (noise multiplier "
            text += "{noise_multiplier:g}, clipping norm {clipping_norm:g}); it protects members of the training set, "
            lines += [text.format(names[cell], **facts) + "not the images sent.", ""]
    return lines


def _private(numbers: Numbers, cell: str) -> bool:
    return numbers.value(cell, "facts", "epsilon", missing=NO_REASON) is not None


def untuned(numbers: Numbers) -> str:
    """What the defenses have in common, and whose batches have another size than the unprotected row's."""
    names, other = named(labels(numbers)), []
    for cell in numbers.cells:
        base = numbers.reference(cell)
        own, usual = (numbers.value(row, "training", "batch_size") for row in (cell, base or cell))
        if own != usual:
            drawn = ", drawn by Poisson sampling" if _private(numbers, cell) else ""
            other.append(f" {names[cell]} has batches of {own:,.0f} images{drawn}, not {usual:,.0f}.")
    others = own_training(numbers)
    return (
        "No defense was tuned by attack results: each runs at the value its own paper or the paper's code gives, or at "
        "the fixed default in params.yaml (AE's weight of L1 was chosen by the share of non-zero entries alone). All "
        f"{'others ' if others else ''}are trained with the same epochs, optimizer, "
        f"{_rates(numbers) or 'learning rate'} and data." + "".join([*other, *others])
    )


# what a row's training may have of its own, by the name in its record
TRAINING = {
    "epochs": "epochs", "weight_decay": "weight decay", "schedule": "schedule", "warmup": "warm-up",
    "select_after": "weights kept from after epoch", "candidates": "learning rates tried",
}  # fmt: skip


def own_training(numbers: Numbers) -> list[str]:
    """A sentence for each row that was not trained as its unprotected row: what it has of its own, by their records."""
    names, lines = named(labels(numbers)), []
    for cell in numbers.cells:
        pairs = {
            key: [_noted(numbers, row, key) for row in (cell, numbers.reference(cell) or cell)] for key in TRAINING
        }
        differ = [
            f"{TRAINING[key]} {own}, not {usual}"
            for key, (own, usual) in pairs.items() if own != usual and "" not in (own, usual)
        ]  # fmt: skip
        lines += [f" **{names[cell]} has a training of its own: {'; '.join(differ)}.**"] if differ else []
    return lines


def _noted(numbers: Numbers, cell: str, quantity: str) -> str:
    """What a cell's record says of its training; empty where it is silent."""
    if quantity not in numbers.quantities(cell, "training"):
        return ""
    value = numbers.value(cell, "training", quantity)
    return f"{value:g}" if value is not None else numbers.text(cell, "training", quantity).strip("[]")


def _rates(numbers: Numbers) -> str:
    """How the rows found their learning rates, and which; empty where none had a choice."""
    names, chosen = named(labels(numbers)), {}
    tried = [
        cell for cell in numbers.cells if (numbers.value(cell, "training", "trial_epochs", missing="none") or 0) > 0
    ]
    for cell in tried:
        rates = sorted({f"{rate:g}" for rate in numbers.by_seed(cell, "training", "lr").values() if rate})
        chosen.setdefault(" and ".join(rates), []).append(names[cell])
    if not tried:
        return ""
    found = "; ".join(f"{rate}: {', '.join(rows)}" for rate, rows in chosen.items())
    candidates = " / ".join(dict.fromkeys(_noted(numbers, cell, "candidates") for cell in tried))
    return (
        f"choice of the learning rate (among {candidates}, that of the best validation accuracy in a trial of "
        f"{distinct(numbers.value(cell, 'training', 'trial_epochs') for cell in tried)} epochs each: {found})"
    )


def _estimators(numbers: Numbers) -> str:
    """How the estimators that some defenses train against compare with fresh ones, and which the edge outran."""
    names, ratios, outrun = named(labels(numbers)), [], []
    for cell in numbers.cells:
        ratio, fast = (numbers.number(cell, "estimator", key, missing=NO_REASON) for key in ("ratio", "outrun"))
        if ratio.n or fast.n:
            ratios.append(f"{names[cell]} {NONE if ratio.value is None else format(ratio.value, '.2f')}")
            outrun += [names[cell]] * bool(fast.highest)
    beaten = f"**The edge outran that of {', '.join(outrun)}: what such a row shows is not the method.**"
    text = (
        "Estimators: a defense that trains against an estimator or adversary of its own is no stronger than this is. "
        "Its error on validation images, over that of a fresh one fitted to the finished edge afterwards: "
        f"{'; '.join(ratios)}. {beaten if outrun else 'No edge outran its own.'}"
    )
    return text if ratios else ""


def _mle(numbers: Numbers, item: str) -> str:
    """A variant's settings and how they were chosen; each row and seed chooses its own."""
    own = Common(numbers, [item])
    text = f"MLE ({variant_title(item)}): " + "learning rate {lr}, weight of total variation {tv}".format_map(own)
    if not own["trials"]:
        return f"{text}, the same for every row."
    if own["trial_steps"] == "0":  # the prior's weight; all else is what the hybrid attack has chosen
        text += " (the hybrid attack's), weight of the prior {weight}; this weight and the number of steps are chosen "
        text += "for each row and seed among {trials} weights on {final_images} auxiliary images."
        return text.format_map(own)
    text += "; chosen for each row and seed in {trials} trials of {trial_steps} steps on {trial_images} auxiliary "
    asked = own.above_one("queries")
    text += f"images; where a defense is random, it has {asked} releases of each image." if asked else "images."
    return text.format_map(own)


def _mine(numbers: Numbers, name: str) -> str:
    """An estimator's budget, and the most it can say."""
    caps = [numbers.number(cell, f"mi {name}", "cap_nats") for cell in numbers.cells]
    # the cap depends on the batch size alone, so rows agree in it up to the last digits
    known = [round(cap.value, 4) for cap in caps if cap.value is not None]
    why = distinct(cap.reason for cap in caps if cap.value is None)
    limit = f"it cannot exceed {distinct(known)} nats" if known else f"no cap is stated: {why}"
    own = Common(numbers, [f"mi {name}"])
    until = "fitted until its bound stops rising on {stop_images} images apart, for at most {most_steps} steps (used: "
    started = own.fill(until + "{steps}),") or own.fill("fitted for {epochs} epochs")
    fitted = started + " on {fit_images} images in batches of {batch_size}, measured on {held_out_images} others"
    fitted = fitted.format_map(own)
    nulls = (numbers.value(cell, f"mi {name}", "null_nats", missing=NO_REASON) for cell in numbers.cells)
    read = [round(value, 3) for value in nulls if value is not None]
    spent = own.fill("at most {null_steps} steps") or own.fill("epochs: {null_epochs}")
    null = f" Fitted to and read on shuffled pairs ({spent}): {distinct(read)} nats." if read else ""
    return (
        f"MI ({ESTIMATES[name]}): {fitted}; {limit}. Of a single run: mean ± standard deviation over its last epochs."
        f"{null}"
    )
