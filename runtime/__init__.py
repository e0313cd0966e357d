"""What every long-running part shares: settings, errors, Kafka clients, telemetry, life cycle."""
