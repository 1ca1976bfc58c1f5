"""What a student learned, in numbers, and what is to be seen in them: views, which nothing here draws."""
