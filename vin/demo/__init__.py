"""`vin demo`: a made-up region, played through the client and checked against its own truth."""
