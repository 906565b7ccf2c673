"""The referral index: registering signals, matching them, telling those concerned."""
