//! Host traits natively, and what the `dinghy` command is made of.
