"""Getting notices to their recipients: ledger, stream and channels."""
