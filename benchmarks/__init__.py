"""What fbguard costs, measured; ``python -m benchmarks.hit`` is the place to start."""
