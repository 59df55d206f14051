"""Methods held against data whose interactions are known, and estimators of interactions."""
