//! The native language, `forgehand.yml`.
