"""A ReLU network: what it holds, its sensitivities, its numerical gradients, its checks."""
