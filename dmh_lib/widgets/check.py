"""One button: does the model that reads everything at once say what its agent says step by step?"""

import ipywidgets

from dmh_lib.explore import parity

from .session import Session


class ParityCheck(ipywidgets.VBox):
    """The panel *Check*: training and play are one function, or not, on the lifetime that is looked at.

    Args:
        session: one that has played.

    Attributes:
        check: the button.
        table: what came out, after it was pressed.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.check = ipywidgets.Button(description="check", button_style="primary")
        self.check.on_click(lambda _: self._check())
        self.table = ipywidgets.HTML()
        about = ipywidgets.HTML(
            "In training the model reads a whole context at once; in play it takes one step after the other. "
            "If both are the same function, all that was learned holds in play. The check reads this "
            "lifetime both ways and compares every number."
        )
        super().__init__([about, self.check, self.table])

    def _check(self) -> None:
        session = self._session
        found = parity(session.model, session.life, session.play_config)
        rows = "".join(
            f"<tr><td>{row.what}</td><td>{row.steps}</td><td>{row.largest:.4g}</td>"
            f"<td>{row.difference:.2g}</td><td><b>{'✓ agree' if row.agree else '✗ differ'}</b></td></tr>"
            for row in found.itertuples()
        )
        heads = "".join(
            f"<th>{name}</th>"
            for name in (
                "what",
                "steps compared",
                "largest number",
                "largest difference",
                "parallel and step by step",
            )
        )
        style = "border-spacing: 18px 4px; text-align: left; font-size: 14px"
        self.table.value = f'<table style="{style}"><tr>{heads}</tr>{rows}</table>'
