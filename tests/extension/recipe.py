"""VICReg on striped images."""

from configs import base


def get_config(arg=""):
    """Return the recipe."""
    config = base.get_config()
    config.data = {"name": "stripes"}
    config.transform = {"name": "image", "size": 16, "view1": {"flip": 0.5}}
    config.model = {"name": "linear_patches"}
    config.objective = {"name": "vicreg"}
    config.optimizer = {"name": "sgd", "learning_rate": 0.1}
    config.train.update(
        batch_size=16, epochs=4.0, log_every_steps=1, monitor="eval/knn/votes_right"
    )
    config.evaluate.update(batch_size=32, loss_batches=0)
    config.evaluate.sets = {"knn": {"name": "knn"}}
    return base.apply_variants(config, arg, {})
