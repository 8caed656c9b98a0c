//! `forgehand demo`.
