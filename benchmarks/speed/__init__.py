"""Speed, memory and precision of training, prediction and explanation; ``python -m benchmarks`` runs the parts."""
