"""The page's section on MuJoCo: D4RL's scores on data of our own, and the published ones on D4RL's."""

from collections.abc import Sequence

import pandas as pd

from dmh_lib.behaviour.config import ENVIRONMENTS
from dmh_lib.behaviour.learn import CURVE
from dmh_lib.files import read_json

from .data import MujocoSpec
from .markdown import interval, joined, markdown_table, number, title_of
from .overview import details, overview, verdicts
from .pictures import policy_curves, save_lives, save_picture
from .protocol import software_of
from .published import FILE, read_published
from .store import MEMORY, PAPER_TARGET, Places, Stored, final_rows
from .summary import Group, Scores, Series
from .value_learning import Found, leads, note_on, read_learned, score_rows

UNIT = "D4RL's score"


def mujoco_section(groups: Sequence[Group], places: Places, *, figures: bool = True) -> str:
    """The Markdown of all datasets that have runs, or nothing; figures are drawn beside the page."""
    shown = [group for group in groups if group.runs]
    if not shown:
        return ""
    found = [(group, read_learned(group, places)) for group in shown]
    against = {group.name: leads(group, learned) for group, learned in found}
    title = "### Where another beats DM-H in MuJoCo, and where not"
    parts = [
        INTRODUCTION,
        overview(shown, "### Scores on all datasets", score_rows(found)),
        verdicts(shown, title, UNIT, "lifetime", against),
        _published(found, places),
    ]
    for group in shown:
        pictures = save_lives(group, UNIT, title_of(group), places.out) if figures else []
        shown_pictures = [f"![{title_of(group)}]({path})" for path in pictures]
        parts.append(joined(f"### {title_of(group)}", *shown_pictures, _details(group)))
    notes = "\n".join(filter(None, [NOTES, note_on(found)]))
    parts += [_data(shown, places, figures=figures), notes, software_of(shown)]
    return joined(*parts)


INTRODUCTION = """## MuJoCo, on data of our own

**These are not D4RL's datasets.** Ours have their schema and mixtures, but another simulator (Gymnasium's
v5), other learners and other policies (see *Data* below). Scores are D4RL's: 0 is its random policy, 100 its
expert. They are those of the **last of ten episodes, final checkpoint**, from an empty context and without a
gradient step. Brackets are 95 % intervals over training seeds and lifetimes."""

NOTES = """### How MuJoCo was measured

- **Play.** Ten lifetimes of ten episodes with each training seed's final checkpoint, three with its earlier
  ones, all side by side. Models are deterministic; lifetimes differ by where the simulator starts them.
- **Targets.** Models with a return-to-go (DM-H, DT, DM) aim at the best return in their data. *Paper's
  target* is the same checkpoint aiming at 12,000 (HalfCheetah), 3,600 (Hopper) or 5,000 (Walker2d), far
  beyond most of our data.
- **DM-H.** Sub-goals for 20 steps, contexts of up to four episodes, drawn as often as they have steps (as DT,
  DM and BC see them), sorted, relabelled so that the target is the best one's return, which alone is
  imitated; rewards in thousands. The ten episodes of play are more than it was trained on.
- **Settings.** DM-H's were chosen by play, in Hopper's `medium` and `medium-replay` with training seed 0, so
  that its scores there flatter; the others have their presets, with updates as time allowed. Scores of one
  training each in `medium` and `medium-replay`: with another episode imitated as well and a learning rate
  that falls to 0, 39 and 54; the best alone, 57 and 42; that with dropout, 67 and 45; with a constant rate,
  55 and 57, which is what stands above; with both, 65 and 38. In ten of fifteen trainings with a falling rate
  a checkpoint from before the fall played better than the last one: weights that come to rest imitate what
  most of the data does, whatever the target.
- **Why not first.** In Hopper's `medium` all episodes are one policy's and differ by luck: what is imitated
  on average falls, at 39, and a policy a little beside it may walk to the end, at 105. Cloning the best 3,
  10, 20 and 40 % of the episodes gave 105, 105, 82 and 50 (one training each of 5,000 updates; 10 %: three
  of 10,000). DM-H imitates the best of up to four episodes, whose steps bring 1,500 on average, as those of
  the best 40 % do (1,476; the best tenth's 1,808), and listens little to its target: 1,000 more moves its
  actions by 0.02 to 0.04 and DT's by 0.06, where those of the data spread by 0.47. Much of the rest looks
  like chance. The four checkpoints of one training played at 59, 59, 103 and 37; seeds 0 and 1, trained again
  with later code of the same meaning, at 76 and 37. Tried in one to three trainings each: contexts of ten
  episodes, 37 (71 with a falling rate); a transformer that does not see the chunk's earlier actions and
  rewards, 75 (63 with a falling rate); that with a valuable sub-goal at every chunk, 88, 39 and 71, and 41 in
  `medium-replay`; no valuable sub-goals, 43; neither them nor other episodes, 39; the return-to-go embedded
  after the norm and the sub-goal at every step, 69. Nothing was clearly better than what stands above.
- **AD.** Windows of 2,000 steps across episodes in the order collected, which in `medium-replay` is that of
  learning and elsewhere means nothing. **DT, DM:** windows of 20 steps. **BC:** single steps, *BC-10%* those
  of the best tenth of the episodes.
- **Best checkpoint** is chosen by the very score it shows, and so flatters."""


def _details(group: Group) -> str:
    def cells(series: Series, scores: Scores) -> list[str]:
        return [
            f"**{interval(scores.percent)}**",
            ", ".join(f"{value:.1f}" for value in scores.by_seed),
            number(_mean(series, MEMORY, first=True)),
            interval(scores.no_memory),
            number(_mean(series, PAPER_TARGET)),
            f"{scores.best:.1f}",
            f"{scores.updates:,}",
            number(scores.minutes),
        ]

    headings = [
        UNIT, "each seed", "first episode", "without memory", "paper's target", "best checkpoint", "updates",
        "minutes",
    ]  # fmt: skip
    return details(group, headings, cells)


def _mean(series: Series, line: str, *, first: bool = False) -> float | None:
    """Mean score of a line's first or last episode, final checkpoints; None where it was not played."""
    table = pd.concat([final_rows(run.table, line) for run in series.runs])
    if table.empty:
        return None
    episode = table["episode"].min() if first else table["episode"].max()
    return float(table.loc[table["episode"] == episode, "percent_of_optimum"].mean())


def _published(found: Found, places: Places) -> str:
    """The paper's figures for datasets of these names, beside ours."""
    table = read_published(places.out / FILE)
    names = {}
    for group, learned in found:
        assert isinstance(group.data, MujocoSpec)
        ours = {series.label: series.scores.percent for series in group.series if series.scores}
        ours |= {one.label: one.percent for one in learned}
        names[f"{group.data.env}-{group.data.kind}"] = ours
    known = table[table["task"].isin(names)]
    if known.empty:
        return ""
    labels = list(dict.fromkeys(known["label"]))
    rows = []
    for label in labels:
        cells = []
        for name, ours in names.items():
            entry = known[(known["label"] == label) & (known["task"] == name)]
            theirs = entry["value"].iloc[0] if len(entry) else "–"
            mine = f"{ours[label].value:.1f}" if label in ours else "–"
            cells.append(f"{theirs} · {mine}")
        rows.append([label, *cells])
    about = (
        "**Published, on D4RL's data** (Huang et al. 2024, from "
        f"[`{FILE}`]({FILE})) · **ours, on ours.** Two different sets of data stand beside each other here: "
        "compare methods within each, not the numbers across."
    )
    return f"### Beside the published scores\n\n{about}\n\n{markdown_table(['', *names], rows)}"


def _data(groups: Sequence[Group], places: Places, *, figures: bool) -> str:
    headings = ["dataset", "steps", "episodes", "mean return", "best return", "policies' scores", "hash"]
    rows = []
    for group in groups:
        run = group.runs[0]
        known, hashes = run.about.get("data", {}), {one.about["data_hash"][:12] for one in group.runs}
        rows.append(
            [
                f"`{group.name}`",
                f"{known.get('steps', 0):,}",
                f"{known.get('episodes', 0):,}",
                f"{known.get('return_mean', 0):,.0f}",
                f"{known.get('return_max', 0):,.0f}",
                ", ".join(f"{score:.0f}" for score in _policy_scores(run)),
                ", ".join(f"`{one}`" for one in sorted(hashes)),
            ]
        )
    curves = {}
    for env in ENVIRONMENTS:
        path = places.data / "policies" / env / CURVE
        if path.is_file():
            curves[env] = pd.DataFrame(read_json(path)["curve"])
    picture = (
        save_picture(policy_curves(curves), "mujoco-policies.png", places.out) if curves and figures else ""
    )
    about = (
        "From the policies in `data/policies`, which PPO (Hopper, Walker2d) and soft actor-critic "
        "(HalfCheetah) learned here; actions are drawn, as while learning. "
        "`dmh data collect data/policies/hopper --kind medium` makes such a file of any size."
    )
    return joined("### Data", about, picture, markdown_table(headings, rows))


def _policy_scores(run: Stored) -> list[float]:
    return [float(one["score"]) for one in run.about.get("policies", [])]
