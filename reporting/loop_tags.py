"""Tags that the training loop logs."""

LOSS, LOSS_CHANCE = "train/loss", "train/loss_chance"
LOSS_LOWER_BOUND = "train/loss_lower_bound"
# A step's loss of training records and of as many held-out ones, and their difference.
LOSS_TRAINED, LOSS_HELD_OUT, LOSS_GAP = LOSS_SIDES = (
    "eval/loss/train", "eval/loss/held_out", "eval/loss/gap",
)  # fmt: skip
RATE = "train/lr"
SPEED, INPUT_WAIT = "perf/examples_per_sec", "perf/input_wait"
