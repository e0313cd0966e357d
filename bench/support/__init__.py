"""What benchmarks share: how both sides are timed, where their captures come from, how figures are told."""
