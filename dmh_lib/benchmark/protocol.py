"""The page's account of its own protocol, and of where it departs from the paper's."""

from collections.abc import Sequence
from typing import Any

from dmh_lib.presets import PRESETS

from .specs import FROM_DATA
from .store import Stored
from .summary import Group

MEASURED = """## How it was measured

- **Tasks.** A seeded split of an environment's hidden tasks; held-out tasks are in no training data. Every
  method of a section learned from the same file; DPT alone is also told the optimal actions of its training
  tasks, which come from the hidden goals. The split is the one that presets were tried out on.
- **Play.** Lifetimes from an empty context, without a gradient step; actions are sampled at a temperature
  that was chosen on training tasks with the final checkpoint. *Without memory* is the same checkpoint with
  its context wiped before each episode; the *oracle*, 100 %, is told the task. Models with a return-to-go
  (DT, DM, AT) aim at what did best on training tasks: the best return in the data, as in their papers, or the
  lowest, the median or the highest optimum of the training tasks.
- **Windows.** Models that read step by step, all but DM-H and IDT, read up to a lifetime, DT and DM up to an
  episode; in large rooms at most 2,000 steps, as in the paper's table of costs, and AD's transformer 1,000.
  On learners' histories AD learns from every 40th episode, so that a window reaches from a learner's first
  days to its last.
- **Scores.** The last episode of the final checkpoint, never the best episode. *NAUC* is the area under the
  return curve over the oracle's. *Best checkpoint* is chosen by the very score it shows, and so flatters.
- **Intervals.** Lifetimes on one task with the same weights are averaged first. Then, 2000 times, tasks are
  drawn with replacement, as many as there are, and for each of them training seeds, as many as there are
  (rliable's stratified bootstrap over runs and tasks). Seeds are drawn for each task on its own, so that a
  seed which is bad everywhere widens an interval less than it should: *each seed* shows their means. Words
  such as *wins* rest on a bootstrap of the difference that draws whole trainings. With one training seed an
  interval is about tasks alone. Where all scores are equal it has no width, which is not certainty.
- **Time.** What the updates took of one core, compilation left out. Runs that a GPU trained count for scores
  and are left out of times; which they are stands below. An earlier
  checkpoint is not a shorter training: its learning rate has not come down yet, which makes comparisons at
  equal time or updates hard on whoever is cut short. Batches differ in size, so an update is not the same
  work for all."""

PAPER_NOTES = (
    "Published grid-world figures were read off a plot by eye.",
    "The paper collects the histories of a learner (DQN), 1M steps on 60 tasks of each environment, and "
    "publishes no split. Here each section names its histories; a scripted searcher is a choice of ours.",
    "The searcher suits DM-H in key-to-door rooms: it stays on a found key until the next chunk begins, "
    "which is all that Mamba sees. Histories called *hasty* are those of one that does not. In large rooms "
    "it searches lane after lane, and looks around where it remembers a place until it has found it: DM-H "
    "learns far more from that than from searches in all directions. In LargeDarkroomHard AD trains for "
    "longer than DM-H, in LargeDarkKeyToDoor, whose episodes are longer, for less long: see the times.",
    "Choosing a temperature on training tasks is a step of ours.",
    "The paper reports 10 training seeds; *each seed* shows how many there are here.",
    "The paper gives returns, percent of optimum is ours. Its curve for LargeDarkroom levels off near 15 "
    "while the rules allow 181 on average, so returns of that room cannot be compared.",
    "The paper trains on GPUs for 100,000 updates of 128 contexts; ours stand in the tables.",
)


def how_it_was_measured(groups: Sequence[Group]) -> str:
    """The protocol, the datasets and the software."""
    lines = [f"- `{group.name}`: {_data(group)}" for group in groups]
    data = "\n".join(["**Data.**", "", *lines])
    return "\n\n".join([MEASURED, data, software_of(groups)])


def software_of(groups: Sequence[Group]) -> str:
    """What the runs were done with; those that a GPU trained are named."""
    used: dict[str, list[Stored]] = {}
    for group in groups:
        for run in group.runs:
            used.setdefault(software(run.about), []).append(run)
    lines = ["**Software.**", ""]
    for words, runs in sorted(used.items()):
        on_gpu = [f"`{run.spec.name}`" for run in runs if not run.on_cpu]
        lines.append(f"- {words}: " + (", ".join(on_gpu) or f"{len(runs)} runs") + ".")
    return "\n".join(lines)


def how_it_differs(groups: Sequence[Group]) -> str:
    """Every known difference from the paper's protocol, those of DM-H's settings read from the runs."""
    notes = [f"- {note}" for note in PAPER_NOTES]
    for name, datasets in _departures(groups).items():
        notes.append(
            f"- Settings of DM-H in {', '.join(datasets)} that are not the preset `paper`'s: {name}."
        )
    return "## Where this differs from the paper's protocol\n\n" + "\n".join(notes)


def _departures(groups: Sequence[Group]) -> dict[str, list[str]]:
    """Settings of DM-H's runs beside those of the preset `paper`, in words → datasets."""
    found: dict[str, list[str]] = {}
    for group in groups:
        if (series := group.reference) is None:
            continue
        config, paper = series.specs[0].config(), PRESETS["paper"].settings
        words = []
        for part in ("model", "contexts", "training"):
            ours, theirs = vars(getattr(config, part)), vars(getattr(paper, part))
            words += [
                f"`{part}.{name}` {_shown(value)} (paper: {_shown(theirs[name])})"
                for name, value in ours.items()
                if name not in (*FROM_DATA, "seed", "log_every", "checkpoint_every") and value != theirs[name]
            ]
        if words:
            found.setdefault(", ".join(words), []).append(f"`{group.name}`")
    return found


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _data(group: Group) -> str:
    run = group.runs[0]
    spec, settings = group.histories, run.about["settings"]
    prefix = "data.settings."
    config = {name.removeprefix(prefix): v for name, v in settings.items() if name.startswith(prefix)}
    lives = f"{config.pop('runs_per_task')} lifetimes of {config.pop('episodes')} episodes"
    tasks = f"{settings['data.num_train']} training tasks, {settings['data.num_test']} held out"
    rest = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in config.items())
    seeds = f"split seed {spec.split_seed}, seed {spec.seed}"
    data_hash = run.about["data_hash"][:12]
    return f"{spec.behaviour}, {tasks}; {lives} on each ({rest}); {seeds}; hash `{data_hash}`."


def software(about: dict[str, Any]) -> str:
    """What a run was done with."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return f"{versions}, {about['threads']} thread{'s' if about['threads'] > 1 else ''} on {about['device']}"
