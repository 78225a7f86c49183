"""Records what Hugging Face's MambaModel gives: `python -m benchmarks.record_mamba`.

Writes the weights of a small network and its outputs at several lengths for
tests/models/test_mamba_weights.py, so that the tests need no PyTorch.
"""

import pathlib

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).parents[1] / "tests" / "models" / "recorded"
WIDTH, STATES, LAYERS = 16, 4, 2
LENGTHS = (1, 5, 33, 512)


def main() -> None:
    """Write both files and say so."""
    torch.manual_seed(0)
    config = transformers.MambaConfig(
        vocab_size=3,
        hidden_size=WIDTH,
        state_size=STATES,
        num_hidden_layers=LAYERS,
        initializer_range=0.3,
        use_cache=False,
    )
    model = transformers.MambaModel(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            # New networks have ones, zeros and small numbers, which hide mistakes.
            if name.endswith(("norm.weight", "norm_f.weight", "D", "conv1d.bias")):
                p.add_(0.3 * torch.randn_like(p))
        outputs = {}
        for length in LENGTHS:
            x = np.random.default_rng(length).standard_normal((1, length, WIDTH))
            x = torch.tensor(x, dtype=torch.float32)
            y = model(inputs_embeds=x).last_hidden_state
            outputs[str(length)] = y.numpy()
    FOLDER.mkdir(exist_ok=True)
    tensors = {name: p.detach().contiguous() for name, p in model.state_dict().items()}
    save_file(tensors, FOLDER / "mamba.safetensors")
    np.savez_compressed(FOLDER / "mamba_outputs.npz", **outputs)
    print(
        f"transformers {transformers.__version__}, torch {torch.__version__}: {FOLDER}"
    )


if __name__ == "__main__":
    main()
