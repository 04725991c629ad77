//! The usage file: opened, locked, healed, read and appended to.
