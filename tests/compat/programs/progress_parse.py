"""1.x, no network: progress from the text of logs."""

from replicate.prediction import Prediction

progress = Prediction.Progress.parse("loading\n 50%|#####     | 2/4 [00:01<00:01]\n")
assert (progress.percentage, progress.current, progress.total) == (0.5, 2, 4)
assert Prediction.Progress.parse("nothing yet") is None
