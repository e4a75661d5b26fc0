"""What posteriors and weights are held against: exact posteriors, Gibbs sampling, other people's methods."""
