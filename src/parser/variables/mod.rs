//! Variables of the native language.
