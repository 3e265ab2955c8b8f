"""Models: trained by scikit-learn on batch features, stored as text that people can review, scored as SQL in Spark."""
