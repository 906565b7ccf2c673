"""The key holder: it evaluates blinded elements, and sees neither identifier nor index."""
