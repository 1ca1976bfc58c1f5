"""What a student learned: spectra, outliers, neighbourhoods of the noise, and the figures that show them."""
