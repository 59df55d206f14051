"""One door to data: opening, cards, splits, digests, frozen features, fetching, previews."""
