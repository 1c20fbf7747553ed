"""Where bytes lie: names, directories and buckets, staging, commit, sweep, leases."""
