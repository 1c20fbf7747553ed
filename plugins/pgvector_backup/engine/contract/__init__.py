"""What callers may ask and what they are told: keys, requests, settings, results, log sections."""
