"""The decision engine in plain Python, one packet at a time: what the native kernel is tested against."""
