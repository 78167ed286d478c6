"""Pictures of a fitted smoother, by scikit-learn's Display conventions.

The data of a picture are given to ``__init__``, ``plot`` draws them and returns the display, artists are attributes,
and ``from_estimator`` does both. matplotlib is imported when something is drawn.
"""

from sknw.displays.attention import AttentionDisplay
from sknw.displays.bandwidth import BandwidthDisplay
from sknw.displays.effect import EffectDisplay
from sknw.displays.fit import FitDisplay

__all__ = ["AttentionDisplay", "BandwidthDisplay", "EffectDisplay", "FitDisplay"]
