//! Against the corpus and by mutation.
