"""The story of a restore drill: a set is restored into a scratch database, compared, searched, and dropped."""
