//! A small VPC to ask.
