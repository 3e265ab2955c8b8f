"""Models: trained by scikit-learn on batch features, stored as text that a person reviews, scored as SQL in Spark."""
