"""Second opinions about levels: several views of one CT, named by the same network and rules.

``python -m training.opinions --data ../shared/data --first 800 --count 200``: the synthetic CTs of
:mod:`training.evaluate`, by number; ``--real 5``: every real CT whose levels are known, and five other views of each
(:mod:`training.views`); ``--hidden 20``: synthetic CTs of unusual anatomy, cut so that only one landmark is left, whose
names cannot be right unless the network knows better than the rules; ``--spliced 20``: real CTs with four and six lumbar
vertebrae (:mod:`training.spliced`), whole and with one landmark. Names alone: nothing is outlined. What is done is kept
in ``--cache``, so the command can be stopped and started again.

Prints every CT that is named wrongly, withheld or contradicted, and how many of the wrong and of the right names a rule of
"withhold where a view disagrees" would withhold.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from node.model import Level
from node.segment.embedded import EmbeddedSegmenter
from node.segment.grid import AIR_HU, IsoGrid
from node.segment.inference import Prediction, predict
from node.segment.instances import find_bodies, spine_chain
from node.segment.naming import name_bodies
from node.segment.network import SpineNet
from training.cases import held_out_cts, real_cts, selected_ct
from training.evaluate import reference_of
from training.scenes import Scene, one_landmark, scene_of, synthetic_scenes
from training.scoring import NAMED, RIGHT_WITHIN_MM
from training.spliced import BASES, spliced_scenes
from training.views import another_view

#: The same body in two views, mm.
SAME_WITHIN_MM = 12.0
#: How much larger the patient is shown; how far the patches are moved, in voxels; noise that is added, HU.
LARGER, MOVED, NOISE_HU = 1.07, 20, 12.0

Names = dict[int, tuple[float, float, float]]


@dataclass(frozen=True, slots=True)
class Opinions:
    """Names of one CT in every view.

    Attributes:
        case: name of the CT.
        source: ``synthetic``, ``real``, ``hidden``, or ``spliced`` with what is in view.
        names: centres (LPS mm) by level, by view; the view ``plain`` is what the node does.
        right, wrong, withheld: levels of ``plain``, as in :class:`training.scoring.Score`.
        can_be_counted: normal anatomy with a landmark in view.
        said: reasons of ``plain`` for what is missing.
    """

    case: str
    source: str
    names: dict[str, Names]
    right: int
    wrong: int
    withheld: int
    can_be_counted: bool
    said: str = ""

    @property
    def contradicted(self) -> tuple[str, ...]:
        """Views that give a level of ``plain`` to another body."""
        plain = self.names["plain"]
        return tuple(
            view
            for view, names in self.names.items()
            if any(_apart_mm(plain[level], at) > SAME_WITHIN_MM for level, at in names.items() if level in plain)
        )

    @property
    def silent(self) -> tuple[str, ...]:
        """Views that name nothing, although ``plain`` does."""
        return tuple(view for view, names in self.names.items() if self.names["plain"] and not names)


def _apart_mm(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    return float(np.linalg.norm(np.subtract(one, other)))


def plain(network: SpineNet, scene: Scene) -> tuple[Prediction, npt.NDArray[np.bool_]]:
    """What the node itself sees."""
    return predict(network, scene.hu.astype(np.float32), scene.grid, _quiet), scene.inside


def mirrored(network: SpineNet, scene: Scene) -> tuple[Prediction, npt.NDArray[np.bool_]]:
    """Left and right exchanged, and the prediction turned back."""
    seen = predict(network, np.ascontiguousarray(scene.hu[:, :, ::-1]).astype(np.float32), scene.grid, _quiet)
    offset = np.ascontiguousarray(seen.offset_mm[:, :, :, ::-1])
    offset[2] *= -1.0
    return Prediction(scene.grid, np.ascontiguousarray(seen.probability[:, :, :, ::-1]), offset), scene.inside


def larger(network: SpineNet, scene: Scene) -> tuple[Prediction, npt.NDArray[np.bool_]]:
    """The patient 7 % larger; lengths in mm stay true."""
    hu = ndimage.zoom(scene.hu.astype(np.float32), LARGER, order=1, mode="nearest", grid_mode=False)
    # zoom maps the first voxel to the first and the last to the last
    step = (np.array(scene.hu.shape) - 1) / (np.array(hu.shape) - 1)
    index = np.meshgrid(
        *[np.round(np.arange(n) * s).astype(int) for n, s in zip(hu.shape, step, strict=True)], indexing="ij"
    )
    spacing = scene.grid.spacing_mm * float(step.mean())
    grid = IsoGrid(scene.grid.origin_lps_mm, spacing, (hu.shape[0], hu.shape[1], hu.shape[2]))
    seen = predict(network, hu, grid, _quiet)
    smaller = np.float32(spacing / scene.grid.spacing_mm)
    return Prediction(grid, seen.probability, seen.offset_mm * smaller), scene.inside[tuple(index)]


def moved(network: SpineNet, scene: Scene) -> tuple[Prediction, npt.NDArray[np.bool_]]:
    """Half a voxel and a quarter of a patch elsewhere, with a little noise."""
    rng = np.random.default_rng(len(scene.name))
    hu = ndimage.shift(scene.hu.astype(np.float32), 0.5, order=1, mode="nearest")
    grain = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), 0.5)
    hu += grain * np.float32(NOISE_HU / float(grain.std()))
    hu = np.pad(hu, ((MOVED, 0), (0, 0), (0, 0)), constant_values=AIR_HU)
    x, y, z = scene.grid.origin_lps_mm
    half, down = scene.grid.spacing_mm / 2, MOVED * scene.grid.spacing_mm
    grid = IsoGrid((x - half, y - half, z - half - down), scene.grid.spacing_mm, (hu.shape[0], hu.shape[1], hu.shape[2]))
    inside = np.pad(scene.inside, ((MOVED, 0), (0, 0), (0, 0)))
    return predict(network, hu, grid, _quiet), inside


VIEWS: dict[str, Callable[[SpineNet, Scene], tuple[Prediction, npt.NDArray[np.bool_]]]] = {
    "plain": plain,
    "mirrored": mirrored,
    "larger": larger,
    "moved": moved,
}


def _quiet(_text: str) -> None:
    return None


def names_in(prediction: Prediction, inside: npt.NDArray[np.bool_]) -> tuple[Names, str]:
    """Centres of the named bodies L1 to L6 (LPS mm) by level in one view, and the reasons for missing ones."""
    instances, bodies = find_bodies(prediction)
    chain = spine_chain(bodies, prediction.grid.spacing_mm)
    naming = name_bodies(prediction, instances, chain, inside)
    found = {}
    for entry in naming.named:
        if entry.level >= Level.L1:
            x, y, z = prediction.grid.to_lps_mm(np.asarray(entry.body.centre)[None])[0]
            found[int(entry.level)] = (float(x), float(y), float(z))
    return found, "; ".join(str(reason.detail) for reason in naming.reasons)


def opinions(network: SpineNet, scene: Scene, source: str, known: Opinions | None, views: tuple[str, ...]) -> Opinions:
    """Names of a scene in these views; those that are ``known`` are not repeated."""
    names, said = (dict(known.names), known.said) if known else ({}, "")
    for view in views:
        if view not in names:
            names[view], reasons = names_in(*VIEWS[view](network, scene))
            said = reasons if view == "plain" else said
    right = wrong = 0
    for level, at in names["plain"].items():
        true = scene.centres_mm.get(level, (np.inf, np.inf, np.inf))
        # of some real CTs only the heights are known
        apart = abs(true[2] - at[2]) if np.isnan(true[0]) else _apart_mm(true, at)
        right += int(apart <= RIGHT_WITHIN_MM)
        wrong += int(apart > RIGHT_WITHIN_MM)
    withheld = len(scene.whole - set(names["plain"]))
    return Opinions(scene.name, source, names, right, wrong, withheld, scene.can_be_counted, said)


def real_scenes(data: Path, count: int) -> Iterator[Scene]:
    """Real CTs whose levels are known, and ``count`` other views of each."""
    rng = np.random.default_rng(17)
    for ct in (*real_cts(data), *held_out_cts()):
        heights, masks = reference_of(data, ct)
        if heights is None and masks is None:
            continue
        yield scene_of(ct, masks, heights)
        for number in range(count):
            view, seen = another_view(ct, masks, rng)
            scene = scene_of(view, seen, heights)
            yield replace(scene, name=f"{number}: {scene.name}")


def _bases(data: Path, network: SpineNet) -> list[tuple[Scene, Names]]:
    """The real CTs that are spliced, with the bodies as the node names them; these names were checked by eye."""
    bases = []
    for name in BASES:
        ct = selected_ct(data / "ct" / name, name) if (data / "ct" / name).is_dir() else held_out_cts((name,))[0]
        scene = scene_of(ct, None, None)
        names, _ = names_in(*plain(network, scene))
        bases.append((scene, {level: at for level, at in names.items() if level in NAMED}))
    return bases


def table(found: list[Opinions]) -> str:
    """What a rule that withholds names where a view disagrees would do."""
    lines = []
    for source in dict.fromkeys(one.source for one in found):
        rows = [one for one in found if one.source == source]
        wrong = [one for one in rows if one.wrong]
        right = [one for one in rows if one.right and not one.wrong]
        counted = [one for one in rows if one.can_be_counted and one.right + one.withheld]
        lost = [one for one in counted if not one.right]
        lines.append(
            f"{source}: {len(rows)} CTs; levels {sum(r.right for r in rows)} right, {sum(r.wrong for r in rows)} wrong; "
            f"can be counted {len(counted)}, of these withheld {len(lost)} ({100 * len(lost) / max(1, len(counted)):.1f} %)"
        )
        compared = [view for view in VIEWS if view != "plain" and all(view in one.names for one in rows)]
        for view in compared:
            lines.append(
                f"  {view}: contradicts {sum(view in one.contradicted for one in wrong)} of {len(wrong)} wrong and "
                f"{sum(view in one.contradicted for one in right)} of {len(right)} right; silent at "
                f"{sum(view in one.silent for one in wrong)} wrong and {sum(view in one.silent for one in right)} right"
            )
        if compared:
            caught = sum(bool(one.contradicted) for one in wrong), sum(bool(one.contradicted) for one in right)
            doubted = tuple(sum(bool(one.contradicted or one.silent) for one in some) for some in (wrong, right))
            lines.append(f"  any contradicts: {caught[0]} of {len(wrong)} wrong, {caught[1]} of {len(right)} right")
            lines.append(f"  any contradicts or is silent: {doubted[0]} of {len(wrong)}, {doubted[1]} of {len(right)}")
    return "\n".join(lines)


def _read(kept: Path) -> dict[str, Opinions]:
    found: dict[str, Opinions] = {}
    if kept.exists():
        for line in kept.read_text(encoding="utf-8").splitlines():
            fields = json.loads(line)
            names = {v: {int(k): tuple(at) for k, at in some.items()} for v, some in fields["names"].items()}
            one = Opinions(**{**fields, "names": names})
            found[f"{one.source} {one.case}"] = one
    return found


def main() -> None:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--first", type=int, default=800, help="number of the first synthetic CT")
    parser.add_argument("--count", type=int, default=0, help="number of synthetic CTs")
    parser.add_argument("--real", type=int, help="real CTs, and this many other views of each")
    parser.add_argument("--hidden", type=int, default=0, help="number of cuts that hide a landmark of unusual anatomy")
    parser.add_argument(
        "--spliced", type=int, default=0, help="number of real CTs with four, and with six, lumbar vertebrae"
    )
    parser.add_argument("--views", nargs="*", choices=list(VIEWS), default=list(VIEWS))
    parser.add_argument("--cache", type=Path, default=Path("runs/evaluation"), help="keeps scenes and names")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    network = EmbeddedSegmenter().network
    options.cache.mkdir(parents=True, exist_ok=True)
    kept = options.cache / "opinions.jsonl"
    known = _read(kept)
    views = tuple(dict.fromkeys(("plain", *options.views)))
    found = []

    def look_at(scene: Scene, source: str) -> None:
        before = known.get(f"{source} {scene.name}")
        one = opinions(network, scene, source, before, views)
        if before is None or before.names.keys() != one.names.keys():
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(one)) + "\n")
        if (
            one.wrong
            or one.contradicted
            or one.silent
            or source.startswith("spliced")
            or (one.can_be_counted and one.withheld and not one.right)
        ):
            print(
                f"{scene.name}: right {one.right} wrong {one.wrong} withheld {one.withheld}; contradicted by "
                f"{one.contradicted}, silent {one.silent}; {one.said}",
                flush=True,
            )
        found.append(one)

    numbers = list(range(options.first, options.first + options.count))
    for _, scene in synthetic_scenes(options.data, options.cache, numbers):
        look_at(scene, "synthetic")
    for scene in one_landmark(options.data, options.cache, options.first, options.hidden):
        look_at(scene, "hidden")
    if options.spliced:
        for scene in spliced_scenes(_bases(options.data, network), options.spliced):
            landmarks = "both" if scene.sacrum and scene.last_rib else "no rib" if scene.sacrum else "no sacrum"
            look_at(scene, f"spliced, {landmarks}")
    if options.real is not None:
        for scene in real_scenes(options.data, options.real):
            look_at(scene, "real")
    print(table(found))


if __name__ == "__main__":
    main()
