//! The options: one table makes the parser, DescribeConfigs and the docs.
