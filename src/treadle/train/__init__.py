"""Training: today one network on one data set, in plain functions. Stands on everything below it."""
