"""The contracts: datasets, topics, the event envelope, and what is rendered from them."""
