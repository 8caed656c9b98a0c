//! Removing what need not be kept any longer.
mod mark;
pub(super) mod repack;
mod sweep;
