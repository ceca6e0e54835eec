"""Many runs of one notebook or one training, over a grid of parameters."""
