//! Whole requests through the door, against servers of our own on the loopback.
