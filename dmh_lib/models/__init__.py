"""Decision Mamba-Hybrid and its two modules."""

from dmh_lib.models.action_transformer import ActionTransformer
from dmh_lib.models.config import DMHConfig
from dmh_lib.models.dmh import DMH, DMHLoss
from dmh_lib.models.subgoal_mamba import SubgoalMamba
from dmh_lib.models.transformer import CausalTransformer, KeyValueCache

__all__ = [
    "DMH",
    "ActionTransformer",
    "CausalTransformer",
    "DMHConfig",
    "DMHLoss",
    "KeyValueCache",
    "SubgoalMamba",
]
