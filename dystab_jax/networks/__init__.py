"""The networks φ, ψ and χ, and their pretrained weights."""
